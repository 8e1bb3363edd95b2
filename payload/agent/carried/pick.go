package carried

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/flash/expand"
	"github.com/farboot/farboot/payload/modules"
	"github.com/farboot/farboot/payload/newc"
)

// ErrDriver: the system's kernel has no driver for what it cannot do without.
var ErrDriver = errors.New("the system's kernel lacks a driver")

const (
	// maxIndex bounds each text of the index, in bytes; Debian's largest has 1.4 MB.
	maxIndex = 8 << 20
	// maxModule bounds one module, in bytes; the largest of Debian, amdgpu, has 18 MB.
	maxModule = 64 << 20
)

// builtinFile lists what a kernel needs no module for, where it is among them.
const builtinFile = "modules.builtin"

// Modules are those of the kernel that comes next.
type Modules struct {
	index   *modules.Index // nil: the kernel has all that it needs built in
	builtin map[string]bool
	open    func() (io.ReadCloser, error)
	dir     string // lib/modules/RELEASE
}

// ReadModules reads the index of an initrd with modules of the given release; nil is
// a kernel that has all it needs built in.
func ReadModules(initrd *io.SectionReader, release string) (*Modules, error) {
	if initrd == nil {
		return &Modules{}, nil
	}
	m := &Modules{builtin: map[string]bool{}, dir: path.Join("lib/modules", release)}
	m.open = func() (io.ReadCloser, error) { return unpack(initrd) }
	texts := map[string]string{}
	err := m.each(func(f newc.File) error {
		switch name := strings.TrimPrefix(f.Name, m.dir+"/"); name {
		case modules.DepFile, modules.AliasFile, modules.SoftdepFile, builtinFile:
			data, err := io.ReadAll(io.LimitReader(f.Content, maxIndex))
			texts[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if texts[modules.DepFile] == "" {
		return nil, fmt.Errorf("%w: the initrd with modules has none of %s", ErrDriver, release)
	}
	for line := range strings.Lines(texts[builtinFile]) {
		m.builtin[modules.Name(strings.TrimSpace(line))] = true
	}
	m.index, err = modules.Parse(texts[modules.DepFile], texts[modules.AliasFile], texts[modules.SoftdepFile])
	return m, err
}

// unpack decompresses an initrd, by what it begins with.
func unpack(initrd *io.SectionReader) (io.ReadCloser, error) {
	head := make([]byte, 6)
	if _, err := initrd.ReadAt(head, 0); err != nil {
		return nil, err
	}
	format := ""
	for name, magic := range map[string]string{"xz": "\xfd7zXZ\x00", "zst": "\x28\xb5\x2f\xfd", "gz": "\x1f\x8b"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			format = name
		}
	}
	return expand.Reader(io.NewSectionReader(initrd, 0, initrd.Size()), format)
}

// each calls visit for each file of the initrd.
func (m *Modules) each(visit func(newc.File) error) error {
	r, err := m.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := newc.Read(r, visit); err != nil {
		return fmt.Errorf("initrd with modules: %w", err)
	}
	return nil
}

// has tells whether the kernel can have a module, or has it built in.
func (m *Modules) has(name string) bool {
	if m.index == nil || m.builtin[name] {
		return true
	}
	_, err := m.index.Order(name)
	return err == nil
}

// Door returns the way to a block device that the kernel has.
func (m *Modules) Door() (string, error) {
	var lacks []string
	for _, door := range []string{carry.FUSE, carry.NBD} {
		missing := ""
		for name := range blockdev.Needs(door) {
			if !m.has(name) {
				missing = name
			}
		}
		if missing == "" {
			return door, nil
		}
		lacks = append(lacks, missing)
	}
	return "", fmt.Errorf("%w: neither %s is there", blockdev.ErrDoor, strings.Join(lacks, " nor "))
}

// Wish says what the kernel has to be able to do.
type Wish struct {
	// Must are modules, by name, and Cards devices by their modaliases, each with
	// those of what it hangs on behind its own: without one it cannot be.
	Must  []string
	Cards []Card
	// Want are modules, and Devices modaliases of which drivers are taken as far as
	// there are any.
	Want    []string
	Devices []string
}

// Module is one that the agent takes along.
type Module struct {
	Name string // of its file: "loop.ko"
	Data []byte
}

// Pick returns the modules for a wish, in the order in which they are to be loaded.
func (m *Modules) Pick(w Wish) ([]Module, error) {
	if m.index == nil {
		return nil, nil
	}
	names, err := m.names(w)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		order, err := m.index.Order(name)
		if err != nil {
			continue // built in, or wanted and not there
		}
		for _, file := range order {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	data := map[string][]byte{}
	err = m.each(func(f newc.File) (err error) {
		name := strings.TrimPrefix(f.Name, m.dir+"/")
		if !slices.Contains(files, name) {
			return nil
		}
		if f.Size > maxModule {
			return fmt.Errorf("%w: %s has %d bytes", newc.ErrMalformed, name, f.Size)
		}
		data[name], err = io.ReadAll(f.Content)
		return err
	})
	if err != nil {
		return nil, err
	}
	var picked []Module
	for _, file := range files {
		if data[file] == nil {
			return nil, fmt.Errorf("%w: %s is listed and not there", ErrDriver, file)
		}
		picked = append(picked, Module{path.Base(file), data[file]})
	}
	return picked, nil
}

// names returns the modules that a wish comes to.
func (m *Modules) names(w Wish) ([]string, error) {
	for _, name := range w.Must {
		if !m.has(name) {
			return nil, fmt.Errorf("%w: there is no module %s", ErrDriver, name)
		}
	}
	names := append(slices.Clone(w.Must), w.Want...)
	for _, c := range w.Cards {
		if len(c.Aliases) == 0 {
			return nil, fmt.Errorf("%w: the card %s says nothing of itself", ErrDriver, c.MAC)
		}
		if len(m.index.Match(c.Aliases[0])) == 0 && !m.builtin[strings.ReplaceAll(c.Driver, "-", "_")] {
			return nil, fmt.Errorf("%w: for the card %s (%s here), %s", ErrDriver, c.MAC, c.Driver, c.Aliases[0])
		}
		for _, alias := range slices.Backward(c.Aliases) { // the bus before what is on it
			names = append(names, m.index.Match(alias)...)
		}
	}
	for _, alias := range w.Devices {
		names = append(names, m.index.Match(alias)...)
	}
	return names, nil
}

// Layer returns the archive that carries the agent: what [Run] will find. program is
// the agent itself.
func Layer(document []byte, init newc.File, picked []Module, roots []byte, program newc.File) []newc.File {
	folder := func(name string) newc.File { return newc.File{Name: rooted(name), Mode: newc.Dir | 0o755} }
	file := func(name string, data []byte) newc.File {
		return newc.File{Name: rooted(name), Mode: newc.Regular | 0o600, Size: int64(len(data)), Content: bytes.NewReader(data)}
	}
	files := []newc.File{folder(carry.Dir), file(carry.File, document), folder(carry.Modules)}
	for i, m := range picked {
		files = append(files, file(fmt.Sprintf("%s/%03d-%s", carry.Modules, i, m.Name), m.Data))
	}
	if roots != nil {
		files = append(files, file(carry.Roots, roots))
	}
	if init.Size > 0 {
		init.Name = rooted(carry.Init)
		files = append(files, init)
	}
	program.Name, program.Mode = "init", newc.Regular|0o755
	return append(files, program)
}

// rooted makes an absolute path one of an archive.
func rooted(name string) string { return strings.TrimPrefix(name, "/") }
