package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"github.com/farboot/farboot/builder/source/apt/deb822"
	"github.com/farboot/farboot/builder/source/apt/version"
	"github.com/farboot/farboot/payload/object"
)

// entry is what an index keeps of a package. Relations stay text until
// somebody asks: of 63 440 packages a recipe wants a handful.
type entry struct {
	version, arch, filename       string
	ref                           object.Ref
	preDepends, depends, provides string
	conflicts, breaks, priority   string
	essential                     bool
	repo                          string
}

// indexFile is one Packages file in the form in which it is fetched.
type indexFile struct {
	path  string // relative to dists/<suite>, without the ending
	end   string // "", ".gz" or ".xz"
	ref   object.Ref
	plain object.Ref // the file expanded
}

// indexes returns the Packages files of a component. Xz comes first: it is a
// quarter smaller than gz, and takes Debian's main 1.2 s to expand instead of
// 0.2 s, which pays below some 25 Mbit/s and does no harm above.
func (f *releaseFile) indexes(component string) ([]indexFile, error) {
	architectures := []string{"amd64"}
	if _, ok := f.files[indexPath(component, "all")]; ok && f.allApart {
		architectures = append(architectures, "all")
	}
	var list []indexFile
	for _, arch := range architectures {
		file, err := f.index(component, arch)
		if err != nil {
			return nil, err
		}
		list = append(list, file)
	}
	return list, nil
}

func indexPath(component, arch string) string {
	return path.Join(component, "binary-"+arch, "Packages")
}

// index finds one Packages file. The Release must also vouch for the expanded
// file (it does wherever the archive's tools are sane), so that no compressed
// file can expand to more, or to something else, than was signed.
func (f *releaseFile) index(component, arch string) (indexFile, error) {
	file := indexFile{path: indexPath(component, arch)}
	var ok bool
	if file.plain, ok = f.files[file.path]; !ok {
		return indexFile{}, fmt.Errorf("%w: the release has no %s", ErrMalformed, file.path)
	}
	if file.plain.Size > maxIndex {
		return indexFile{}, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrMalformed, file.path, file.plain.Size, int64(maxIndex))
	}
	for _, file.end = range []string{".xz", ".gz", ""} {
		if file.ref, ok = f.files[file.path+file.end]; ok {
			break
		}
	}
	if file.ref.Size > maxIndex {
		return indexFile{}, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrMalformed, file.path+file.end, file.ref.Size, int64(maxIndex))
	}
	return file, nil
}

// urls returns where the file may be had: from every mirror by its hash, where
// the archive offers that, and by its name. The hash comes first, since what
// has a name changes under the hands of those who read.
func (f indexFile) urls(suite string, byHash bool, mirrors []Mirror) []string {
	var urls []string
	for _, m := range mirrors {
		dir := path.Join("dists", suite, path.Dir(f.path))
		if byHash {
			urls = append(urls, m.file(path.Join(dir, "by-hash/SHA256", f.ref.SHA256.String())))
		}
		urls = append(urls, m.file(path.Join(dir, path.Base(f.path)+f.end)))
	}
	return urls
}

// read parses the file, which lies at name, and calls add for each package.
// What was added counts only where read returns nil.
func (f indexFile) read(name string, add func(name string, e entry)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	fetched := object.NewReader(file, f.ref)
	err = f.readExpanded(fetched, add)
	// A decoder may stop before the end, or stumble over what is wrong before
	// the hash tells that it is: the hash has the last word.
	if _, corrupt := io.Copy(io.Discard, fetched); corrupt != nil {
		err = corrupt
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.path+f.end, err)
	}
	return nil
}

func (f indexFile) readExpanded(r io.Reader, add func(name string, e entry)) error {
	// The xz decoder reads byte by byte: 32 s instead of 2 for Debian's main.
	expanded, err := expand(bufio.NewReaderSize(r, 1<<16), f.end)
	if err != nil {
		return err
	}
	return readPackages(object.NewReader(expanded, f.plain), add)
}

func expand(r io.Reader, end string) (io.Reader, error) {
	switch end {
	case ".xz":
		return xz.NewReader(r)
	case ".gz":
		return gzip.NewReader(r)
	}
	return r, nil
}

// readPackages calls add for each package of a Packages file that is for amd64
// or for all. One malformed paragraph condemns the file.
func readPackages(r io.Reader, add func(name string, e entry)) error {
	paragraphs := deb822.NewReader(r)
	for {
		p, err := paragraphs.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, deb822.ErrSyntax) {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err != nil {
			return err
		}
		if arch := p.Get("Architecture"); arch != "amd64" && arch != "all" {
			continue
		}
		name := p.Get("Package")
		e, err := parseEntry(name, p)
		if err != nil {
			return fmt.Errorf("%w: line %d: package %.80q: %w", ErrMalformed, p.Line, name, err)
		}
		add(name, e)
	}
}

var packageForm = regexp.MustCompile(`^` + packageName + `$`)

// parseEntry reads what a paragraph says about the package called name.
func parseEntry(name string, p *deb822.Paragraph) (entry, error) {
	e := entry{
		version:    p.Get("Version"),
		arch:       p.Get("Architecture"),
		filename:   p.Get("Filename"),
		preDepends: p.Get("Pre-Depends"),
		depends:    p.Get("Depends"),
		provides:   p.Get("Provides"),
		conflicts:  p.Get("Conflicts"),
		breaks:     p.Get("Breaks"),
		priority:   p.Get("Priority"),
		essential:  p.Get("Essential") == "yes",
	}
	if !packageForm.MatchString(name) {
		return entry{}, errors.New("not a package's name")
	}
	if err := version.Check(e.version); err != nil {
		return entry{}, err
	}
	if !isCleanPath(e.filename) {
		return entry{}, fmt.Errorf("filename %.80q leads out of the repository", e.filename)
	}
	var err error
	if e.ref, err = parseRef(p.Get("SHA256"), p.Get("Size")); err != nil {
		return entry{}, err
	}
	if e.ref.Size > maxPackage {
		return entry{}, fmt.Errorf("size %d is more than %d bytes", e.ref.Size, int64(maxPackage))
	}
	return e, nil
}
