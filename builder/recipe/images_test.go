package recipe_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

const siteWithImages = `kind: site
images:
  live: {url: "http://a/live.iso", sha256: 0000000000000000000000000000000000000000000000000000000000000000, format: url}
  root: {file: root.squashfs, profile: {file: root.profile}}
  server: {file: server.img.xz, format: castr}
entries:
  e: {title: x, local: {}}
default: [e]
`

// TestImages: a site can offer images in three ways, and all of them are locked.
func TestImages(t *testing.T) {
	r, err := recipe.Parse("site.yaml", []byte(siteWithImages))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range r.Site.ImageNames() {
		got[name] = r.Site.Images[name].Format
	}
	if diff := cmp.Diff(map[string]string{"live": "url", "root": "zst", "server": "castr"}, got); diff != "" {
		t.Error(diff)
	}
	var inputs []string
	for _, in := range r.Inputs() {
		inputs = append(inputs, in.Name())
	}
	if diff := cmp.Diff([]string{"url:http://a/live.iso", "file:root.squashfs", "file:root.profile", "file:server.img.xz"}, inputs); diff != "" {
		t.Error(diff)
	}
}

// TestRefusalsOfImages holds one mistake a row.
func TestRefusalsOfImages(t *testing.T) {
	for _, m := range []mistake{
		{"format", siteWithImages, "format: castr", "format: caster", `x.yaml:5: images.server.format: "caster" is not one of zst, castr, url`, `did you mean "castr"?`},
		{"url of a file", siteWithImages, "format: castr", "format: url", `images.server.format: only an input with url`, `zst and castr put the image on the site`},
		{"name", siteWithImages, "root:", "Root:", `x.yaml:4: images.Root: name "Root.caibx"`, ``},
		{"no input", siteWithImages, "{file: root.squashfs, profile: {file: root.profile}}", "{format: zst}", `images.root: want one of deb, url and file`, ``},
		{"no hash", siteWithImages, ", sha256: 0000000000000000000000000000000000000000000000000000000000000000", "", `images.live: a url needs the hash`, ``},
		{"file of the same name", siteWithImages, "images:", "files: {root.zst: {text: x}}\nimages:", `images.root: the image has a file "root.zst"`, `call one of them otherwise`},
		{"a profile that is no file", siteWithImages, "{file: root.profile}", "{sha256: x}", `images.root.profile.sha256: only an input with url`, ``},
		{"profile of the same name", siteWithImages, "images:", "files: {root.profile: {text: x}}\nimages:", `images.root: the image has a file "root.profile"`, `call one of them otherwise`},
		{"chunks too small", siteWithImages, "format: castr", "format: castr, chunk: 32", `images.server.chunk: 32 KiB, want 64 to 4096`, ``},
		{"chunks too large", siteWithImages, "format: castr", "format: castr, chunk: 4097", `images.server.chunk: 4097 KiB, want 64 to 4096`, ``},
		{"unknown key", siteWithImages, "format: url", "layout: url", `images.live.layout: unknown key`, ``},
	} {
		t.Run(m.name, m.refused)
	}
}
