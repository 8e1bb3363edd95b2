package kernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/farboot/farboot/payload/modules"
)

// ErrPackage is wrapped by every error that says that a package is not a
// kernel's, or not one that can be read.
var ErrPackage = errors.New("not a usable kernel package")

// Limits of what is taken from a package, in bytes where nothing else is said.
const (
	maxImage   = 64 << 20  // Debian's vmlinuz have 8 to 14 MB
	maxModule  = 128 << 20 // unpacked; Debian's largest, amdgpu, has 22 MB
	maxTotal   = 4 << 30   // all modules unpacked; 391 MB in Debian 12
	maxModules = 20_000    // 4023 in Debian 12
	maxText    = 8 << 20   // modules.builtin*; 0.3 MB in Debian 12
)

// pkg is what a package holds.
type pkg struct {
	release string
	image   []byte
	// modules by name, which has '_' for '-'.
	modules map[string]*module
	// builtin has the names and aliases of what needs no module.
	builtin map[string]bool
	// spool holds every module, unpacked, one after the other: which ones are
	// needed is known when all have been seen, and 400 MB are too much memory.
	spool *os.File
	used  int64
}

// module is one module of a package.
type module struct {
	name string
	// path is relative to lib/modules/<release>: "kernel/drivers/net/tun.ko".
	path         string
	offset, size int64
	info         modinfo
}

// read collects what a package holds. The caller closes the spool.
func read(walk func(func(*tar.Header, io.Reader) error) error) (*pkg, error) {
	spool, err := os.CreateTemp("", "farboot-modules-*")
	if err != nil {
		return nil, err
	}
	p := &pkg{modules: map[string]*module{}, builtin: map[string]bool{}, spool: spool}
	// Without a name the file goes away with the process, however that ends.
	err = os.Remove(spool.Name())
	if err == nil {
		err = walk(p.take)
	}
	if err == nil && (p.image == nil || len(p.modules) == 0) {
		err = fmt.Errorf("%w: %d modules, vmlinuz of %d bytes", ErrPackage, len(p.modules), len(p.image))
	}
	if err != nil {
		spool.Close()
		return nil, err
	}
	return p, nil
}

// take looks at one file of the package.
func (p *pkg) take(h *tar.Header, r io.Reader) error {
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	// Debian 13 has /usr/lib/modules where Debian 12 has /lib/modules.
	name := strings.TrimPrefix(path.Clean(strings.TrimPrefix(h.Name, "/")), "usr/")
	var err error
	if release, ok := strings.CutPrefix(name, "boot/vmlinuz-"); ok {
		err = p.takeImage(release, r)
	} else if place, ok := strings.CutPrefix(name, "lib/modules/"); ok {
		release, rest, _ := strings.Cut(place, "/")
		err = p.takeModule(release, rest, r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// takeImage takes the kernel itself.
func (p *pkg) takeImage(release string, r io.Reader) (err error) {
	if err := p.setRelease(release); err != nil {
		return err
	}
	p.image, err = readAll(r, maxImage)
	return err
}

// setRelease refuses a package with several kernels.
func (p *pkg) setRelease(release string) error {
	if p.release == "" {
		p.release = release
	}
	if release != p.release || release == "" {
		return fmt.Errorf("%w: release %q beside %q", ErrPackage, release, p.release)
	}
	return nil
}

// takeModule takes a file under lib/modules/<release>.
func (p *pkg) takeModule(release, name string, r io.Reader) error {
	if err := p.setRelease(release); err != nil {
		return err
	}
	switch {
	case name == "modules.builtin":
		return p.takeBuiltin(r, func(line string) string { return modules.Name(line) })
	case name == "modules.builtin.modinfo":
		return p.takeBuiltin(r, func(entry string) string {
			_, alias, _ := strings.Cut(entry, ".alias=")
			return alias
		})
	case strings.HasPrefix(name, "kernel/") && modules.Name(name) != "":
		return p.spoolModule(name, r)
	}
	return nil
}

// takeBuiltin takes what needs no module: one name per line or NUL.
func (p *pkg) takeBuiltin(r io.Reader, name func(string) string) error {
	text, err := readAll(r, maxText)
	if err != nil {
		return err
	}
	for entry := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == '\n' || r == 0 }) {
		if n := name(entry); n != "" {
			p.builtin[n] = true
		}
	}
	return nil
}

// spoolModule unpacks a module, reads its .modinfo and keeps its bytes.
func (p *pkg) spoolModule(name string, r io.Reader) error {
	data, err := unpack(name, r)
	if err != nil {
		return err
	}
	info, err := readModinfo(data)
	if err != nil {
		return err
	}
	m := &module{name: modules.Name(name), path: plain(name), offset: p.used, size: int64(len(data)), info: info}
	switch {
	case info.name != "" && info.name != m.name:
		return fmt.Errorf("%w: the module calls itself %q", ErrPackage, info.name)
	case p.modules[m.name] != nil:
		return fmt.Errorf("%w: %s has the same name", ErrPackage, p.modules[m.name].path)
	case len(p.modules) == maxModules:
		return fmt.Errorf("%w: more than %d modules", ErrPackage, maxModules)
	case p.used+m.size > maxTotal:
		return fmt.Errorf("%w: more than %d bytes of modules", ErrPackage, int64(maxTotal))
	}
	p.modules[m.name] = m
	p.used += m.size
	_, err = p.spool.Write(data)
	return err
}

// content returns the bytes of a module.
func (p *pkg) content(m *module) ([]byte, error) {
	data := make([]byte, m.size)
	_, err := p.spool.ReadAt(data, m.offset)
	return data, err
}

// plain is the path of a module that has been unpacked.
func plain(name string) string {
	return name[:strings.LastIndex(name, ".ko")+len(".ko")]
}

// unpack returns the module in r, which is compressed as name tells.
func unpack(name string, r io.Reader) ([]byte, error) {
	switch path.Ext(name) {
	case ".xz":
		x, err := xz.NewReader(bufio.NewReader(r))
		if err != nil {
			return nil, err
		}
		r = x
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = z
	}
	return readAll(r, maxModule)
}

// readAll reads r to its end and fails where that is beyond max bytes.
func readAll(r io.Reader, max int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if n > max {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrPackage, max)
	}
	return b.Bytes(), nil
}
