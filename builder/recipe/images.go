package recipe

import (
	"cmp"
	"maps"
	"slices"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/manifest"
)

// Formats of a [SiteImage].
const (
	FormatZst   = "zst"
	FormatCastr = "castr"
	FormatURL   = "url"
)

// SiteImage is an image that machines read from where it lies, chunk by chunk: a
// disk, a file system, an ISO.
type SiteImage struct {
	// Input is the image, as it is or compressed by xz, zstd or gzip.
	Input `yaml:",inline"`
	// Packages make a root file system in the place of an input, as for a toolbox:
	// with all that they depend on, and without running their scripts.
	Packages []string `yaml:"packages" json:"packages,omitzero"`
	// Files, Alternatives and Drop are as for a toolbox.
	Files        map[string]ModeFile `yaml:"files" json:"files,omitzero"`
	Alternatives map[string]string   `yaml:"alternatives" json:"alternatives,omitzero"`
	Drop         []string            `yaml:"drop" json:"drop,omitzero"`
	// Format is how it is offered: "zst" is one seekable Zstandard file (the
	// default), "castr" a file for each chunk in images.castr/, so that versions
	// share what they have in common, and "url" nothing but the index: the bytes
	// stay on the server that the input names.
	Format string `yaml:"format" json:"format,omitzero"`
	// Chunk is how much a machine fetches and checks at a time, in KiB: 64 to 4096, and
	// 1024 by default. With 256 what is read here and there costs a quarter, and the
	// image is 5 % larger.
	Chunk int `yaml:"chunk" json:"chunk,omitzero"`
	// Profile says which chunks a boot reads, in their order, as a machine recorded it:
	// later boots bring them before they are asked for. It is of this very image.
	Profile *Input `yaml:"profile" json:"profile,omitzero"`
}

// What an image adds to the files of a manifest, behind its name.
const (
	IndexSuffix = ".caibx"
	FileSuffix  = ".zst"
	TableSuffix = ".seek"
	// TreeSuffix is the index once more, where the chunks lie in the site's tree.
	TreeSuffix = ".castr"
	// ProfileSuffix is the boot profile, where there is one.
	ProfileSuffix = ".profile"
)

// ImageNames returns the names of the site's images, sorted.
func (s *Site) ImageNames() []string { return slices.Sorted(maps.Keys(s.Images)) }

// imageInputs returns what the site's images are made of.
func (s *Site) imageInputs() (in []Input) {
	for _, name := range s.ImageNames() {
		if img := s.Images[name]; img.made() {
			in = append(in, img.root().inputs()...)
		} else {
			in = append(in, img.Input)
		}
		if p := s.Images[name].Profile; p != nil {
			in = append(in, *p)
		}
	}
	return in
}

// made tells whether the image is made of packages.
func (img SiteImage) made() bool { return len(img.Packages) > 0 }

// root is what an image of packages is made of.
func (img SiteImage) root() Toolbox {
	return Toolbox{Packages: img.Packages, Files: img.Files, Alternatives: img.Alternatives, Drop: img.Drop}
}

// RootName is what [Recipe.Toolboxes] calls an image of packages. No toolbox can have
// that name. Of other images it is "".
func (img SiteImage) RootName(image string) string {
	if !img.made() {
		return ""
	}
	return "image:" + image
}

// imageSource validates what an image is made of.
func (v *validator) imageSource(at string, img SiteImage) {
	switch {
	case !img.made() && len(img.Files)+len(img.Alternatives)+len(img.Drop) > 0:
		v.fail(at, `add "packages: [...]"`, "files, alternatives and drop are for images of packages")
	case !img.made():
		v.artifact(at, img.Input)
	case img.Input != Input{Line: img.Line}:
		v.fail(at, "", "packages exclude deb, url and file")
	default:
		v.packages(at, img.root())
	}
}

// The least and the most that a chunk may have, in KiB: less makes long indexes, and
// more does not fit into what a machine holds of an image in memory.
const minChunk, maxChunk = 64, 4096

// images validates the images of a site, and sets their defaults.
func (v *validator) images(s *Site) {
	files := len(s.Files)
	for _, name := range s.ImageNames() {
		at, img := "images."+name, s.Images[name]
		orDefault(&img.Format, FormatZst)
		img.Chunk = cmp.Or(img.Chunk, caibx.DefaultChunk>>10)
		s.Images[name] = img
		v.try(at, manifest.CheckName(name+IndexSuffix))
		v.imageSource(at, img)
		v.oneOf(at+".format", img.Format, FormatZst, FormatCastr, FormatURL)
		if img.Format == FormatURL && img.URL == "" {
			v.fail(at+".format", "zst and castr put the image on the site", "only an input with url stays where it is")
		}
		if img.Chunk < minChunk || img.Chunk > maxChunk {
			v.fail(at+".chunk", "", "%d KiB, want %d to %d", img.Chunk, minChunk, maxChunk)
		}
		if img.Profile != nil {
			v.artifact(at+".profile", *img.Profile)
			files++
		}
		for _, suffix := range []string{IndexSuffix, FileSuffix, TableSuffix, TreeSuffix, ProfileSuffix} {
			if _, taken := s.Files[name+suffix]; taken {
				v.fail(at, "call one of them otherwise", "the image has a file %q, and so has files", name+suffix)
			}
		}
		files += map[string]int{FormatZst: 3, FormatCastr: 2, FormatURL: 1}[img.Format]
	}
	v.atMost("images", files, manifest.DefaultBounds().Files)
}
