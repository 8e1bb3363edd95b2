package toolbox

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/toolbox/squashfs"
)

// file is an entry of the root file system that is being put together.
type file struct {
	path   string // relative, with /bin and its like below usr
	mode   fs.FileMode
	target string // of a symbolic link
	offset int64  // of the content, in the spool; hard links have the same
	size   int64
	from   *origin
}

// origin is where a file comes from.
type origin struct {
	name, version string // of a package; or what else it is, without a version
	replaces      []apt.Relation
}

// root is a root file system: its files by path, their content in a temporary
// file that has no name.
type root struct {
	spool *os.File
	end   atomic.Int64
	files map[string]*file
}

func newRoot() (*root, error) {
	spool, err := os.CreateTemp("", "farboot-toolbox-")
	if err != nil {
		return nil, fmt.Errorf("toolbox: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		spool.Close()
		return nil, fmt.Errorf("toolbox: %w", err)
	}
	return &root{spool: spool, files: map[string]*file{}}, nil
}

// keep stores size bytes of r and returns where. It may be called at the same
// time.
func (t *root) keep(r io.Reader, size int64) (offset int64, err error) {
	offset = t.end.Add(size) - size
	n, err := io.Copy(io.NewOffsetWriter(t.spool, offset), io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return offset, err
}

// content returns a file's bytes.
func (t *root) content(f *file) *io.SectionReader {
	return io.NewSectionReader(t.spool, f.offset, f.size)
}

// mergedDirs are those that a Debian of today has as links into usr (usrmerge).
var mergedDirs = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// merged returns where the file at name lies once /bin and its like are links.
func merged(name string) string {
	top, _, _ := strings.Cut(name, "/")
	if slices.Contains(mergedDirs, top) {
		return "usr/" + name
	}
	return name
}

// moved returns the target of a symbolic link that was made for the place old
// and lies at f.path now: a way up to the root has got one folder longer.
func moved(old, now, target string) string {
	if old == now || path.IsAbs(target) {
		return target
	}
	meant := merged(path.Join(path.Dir(old), target))
	if path.Join(path.Dir(now), target) == meant {
		return target
	}
	return "/" + meant
}

// add puts a file into the root. Where another one lies there, Replaces decides
// as it does for dpkg; files that are the same do not disturb each other.
func (t *root) add(f *file) error {
	for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
		if d := t.files[dir]; d != nil && !d.mode.IsDir() {
			return fmt.Errorf("%w: %q of %s lies below what is no folder in %s", ErrFiles, f.path, f.from.name, d.from.name)
		}
	}
	have := t.files[f.path]
	switch {
	case have == nil, have.from.yieldsTo(f.from):
		t.files[f.path] = f
		return nil
	case have.mode.IsDir() && f.mode.IsDir(), f.from.yieldsTo(have.from):
		return nil
	}
	same, err := t.same(have, f)
	if err == nil && !same {
		err = fmt.Errorf("%w: %q is in %s and in %s, and neither replaces the other", ErrFiles, f.path, have.from.name, f.from.name)
	}
	return err
}

// yieldsTo tells whether a file of o gives way to one of other.
func (o *origin) yieldsTo(other *origin) bool {
	return slices.ContainsFunc(other.replaces, func(r apt.Relation) bool { return r.Name == o.name && r.Allows(o.version) })
}

// same tells whether two files cannot be told apart.
func (t *root) same(a, b *file) (bool, error) {
	if a.mode != b.mode || a.target != b.target || a.size != b.size {
		return false, nil
	}
	return equal(t.content(a), t.content(b))
}

// equal compares two readers of the same length.
func equal(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(a, bufA)
		if _, err := io.ReadFull(b, bufB[:n]); err != nil && n > 0 {
			return false, err
		}
		if string(bufA[:n]) != string(bufB[:n]) {
			return false, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// maxLinks is how many symbolic links may lead to a file (MAXSYMLINKS of Linux).
const maxLinks = 40

// lookup follows name, an absolute path or one relative to the root, through
// symbolic links to a file. It returns nil where there is none.
func (t *root) lookup(name string) *file {
	rest, at := strings.Trim(name, "/"), "."
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join(at, part)
		if strings.HasPrefix(next, "..") {
			next = "." // as in a root
		}
		f := t.files[next]
		if f == nil || f.mode&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil
		}
		if path.IsAbs(f.target) {
			at = "."
		}
		rest = strings.Trim(f.target+"/"+rest, "/")
	}
	return t.files[at]
}

// entries returns the files as the file system takes them.
func (t *root) entries() []squashfs.Entry {
	var all []squashfs.Entry
	first := map[int64]*file{} // by the offset of what is in them
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f := t.files[name]
		e := squashfs.Entry{
			Path: f.path, Mode: f.mode, Target: f.target, Size: f.size,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(t.content(f)), nil },
		}
		if f.mode.IsRegular() && f.size > 0 {
			if same := first[f.offset]; same != nil && same.mode == f.mode {
				e.Link = same.path
			} else {
				first[f.offset] = f
			}
		}
		all = append(all, e)
	}
	return all
}
