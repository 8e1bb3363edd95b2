// Package modules tells which kernel modules a device needs and in which order
// they load. It reads the text files that depmod(8) makes and the builder
// packs: modules.dep, modules.alias and modules.softdep.
//
// [Read] takes them from a folder lib/modules/<release>, [Parse] from memory.
// [Index.Match] turns what a device says of itself in sysfs (its modalias) into module names, and
// [Index.Order] a name into the files to load, one after the other.
//
// Names are equal where they differ in '-' and '_' only, as for the kernel. An
// Index answers as modprobe(8) without configuration would; it does not load
// anything, and knows no options, blacklists or "post" soft dependencies.
package modules

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

var (
	// ErrMalformed is wrapped by every error of [Read] about a file's content.
	ErrMalformed = errors.New("malformed module index")
	// ErrUnknown says that the index has no module of that name.
	ErrUnknown = errors.New("no such module")
)

// Limits of what Read takes. A whole Debian 12 kernel has 4023 modules, an
// alias file of 1.4 MB, and one module with 34 dependencies at most.
const (
	maxFile = 8 << 20 // bytes per file
	maxDeps = 512     // dependencies of one module
	maxKey  = 4095    // bytes of a modalias; sysfs gives at most a page
)

// Index is what is known of the modules of one kernel. It is safe for use by
// several goroutines at once.
type Index struct {
	modules map[string]*module
	aliases aliases
}

// module is one line of modules.dep, with its soft dependencies.
type module struct {
	name string
	path string
	// deps is complete: it has the dependencies of dependencies, too.
	deps []*module
	// pre are names or aliases of what should load before, if it is there.
	pre []string
}

// Names of the files, in lib/modules/<release>.
const (
	DepFile     = "modules.dep"
	AliasFile   = "modules.alias"
	SoftdepFile = "modules.softdep"
)

// Read reads the index in fsys, the folder lib/modules/<release>.
func Read(fsys fs.FS) (*Index, error) {
	var texts [3]string
	for i, name := range []string{DepFile, AliasFile, SoftdepFile} {
		text, err := readFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		texts[i] = text
	}
	return Parse(texts[0], texts[1], texts[2])
}

// Parse reads the index from the texts of its three files. It refuses modules
// that depend on each other in a circle.
func Parse(dep, alias, softdep string) (*Index, error) {
	x := &Index{modules: map[string]*module{}, aliases: aliases{}}
	if err := x.readDep(dep); err != nil {
		return nil, fmt.Errorf("%s: %w", DepFile, err)
	}
	if err := x.readAlias(alias); err != nil {
		return nil, fmt.Errorf("%s: %w", AliasFile, err)
	}
	if err := x.readSoftdep(softdep); err != nil {
		return nil, fmt.Errorf("%s: %w", SoftdepFile, err)
	}
	return x, nil
}

// readFile returns the text of a file that must not be larger than maxFile.
func readFile(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("%w: more than %d bytes", ErrMalformed, maxFile)
	}
	return string(data), nil
}

// lines calls each with the words of every line that is not empty and not a
// comment, and adds the line's number to its error.
func lines(text string, each func(words []string) error) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := each(words); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrMalformed, n, err)
		}
	}
	return nil
}

// readDep reads lines such as "kernel/a.ko: kernel/b.ko kernel/c.ko".
func (x *Index) readDep(text string) error {
	deps := map[*module][]string{}
	var all []*module
	err := lines(text, func(words []string) error {
		file, ok := strings.CutSuffix(words[0], ":")
		m := &module{path: file, name: Name(file)}
		switch {
		case !ok || !fs.ValidPath(file) || m.name == "":
			return fmt.Errorf("%q is not a module's path and a colon", words[0])
		case x.modules[m.name] != nil:
			return fmt.Errorf("module %q is listed twice", m.name)
		case len(words)-1 > maxDeps:
			return fmt.Errorf("module %q has more than %d dependencies", m.name, maxDeps)
		}
		x.modules[m.name], deps[m] = m, words[1:]
		all = append(all, m)
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.deps, err = x.resolve(deps[m]); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrMalformed, m.path, err)
		}
	}
	return closed(all)
}

// resolve turns paths into modules.
func (x *Index) resolve(paths []string) ([]*module, error) {
	found := make([]*module, len(paths))
	for i, p := range paths {
		m := x.modules[Name(p)]
		if m == nil || m.path != p {
			return nil, fmt.Errorf("dependency %q is not listed", p)
		}
		found[i] = m
	}
	return found, nil
}

// closed refuses circles. Where every list is complete, a circle is a module
// that depends on itself.
func closed(all []*module) error {
	for _, m := range all {
		if slices.Contains(m.deps, m) {
			return fmt.Errorf("%w: %q depends on itself", ErrMalformed, m.path)
		}
		have := make(map[*module]bool, len(m.deps))
		for _, d := range m.deps {
			have[d] = true
		}
		for _, d := range m.deps {
			for _, dd := range d.deps {
				if !have[dd] {
					return fmt.Errorf("%w: %q needs %q, but does not list its dependency %q", ErrMalformed, m.path, d.path, dd.path)
				}
			}
		}
	}
	return nil
}

// readAlias reads lines such as "alias pci:v00008086d0000100Esv*... e1000".
func (x *Index) readAlias(text string) error {
	order := 0
	return lines(text, func(words []string) error {
		if len(words) != 3 || words[0] != "alias" {
			return errors.New(`want "alias PATTERN MODULE"`)
		}
		m := x.modules[fold(words[2])]
		if m == nil {
			return fmt.Errorf("module %q is not in modules.dep", words[2])
		}
		order++
		return x.aliases.add(words[1], m, order)
	})
}

// readSoftdep reads lines such as "softdep r8169 pre: realtek post: x". Like
// kmod it passes over words that follow neither "pre:" nor "post:".
func (x *Index) readSoftdep(text string) error {
	return lines(text, func(words []string) error {
		if len(words) < 2 || words[0] != "softdep" {
			return errors.New(`want "softdep MODULE pre: NAMES post: NAMES"`)
		}
		m := x.modules[fold(words[1])]
		if m == nil {
			return fmt.Errorf("module %q is not in modules.dep", words[1])
		}
		when := ""
		for _, w := range words[2:] {
			if w == "pre:" || w == "post:" {
				when = w
			} else if when == "pre:" {
				m.pre = append(m.pre, w)
			}
		}
		if len(m.pre) > maxDeps {
			return fmt.Errorf("module %q has more than %d soft dependencies", m.name, maxDeps)
		}
		return nil
	})
}

// Match returns the names of the modules that have an alias for modalias, each
// once and in the order of modules.alias: what "modprobe modalias" would load.
func (x *Index) Match(modalias string) []string {
	var names []string
	for _, m := range x.aliases.match(modalias) {
		names = append(names, m.name)
	}
	return names
}

// Order returns what to load for the module called name, in that order, and
// last its own file: dependencies, and soft dependencies of which there is a
// module. Paths are relative to the folder that was read.
//
// A soft dependency may fail to load, as crc32c-intel does on a processor
// without SSE 4.2 (ENODEV); the files after it still load. Soft dependencies
// of all lines count, where modprobe(8) heeds a module's first line only.
func (x *Index) Order(name string) ([]string, error) {
	m := x.modules[fold(name)]
	if m == nil {
		return nil, fmt.Errorf("module %q: %w", name, ErrUnknown)
	}
	o := order{index: x, seen: map[*module]bool{}, open: map[*module]bool{}}
	o.add(m)
	return o.paths, nil
}

// order is one answer of Order in the making.
type order struct {
	index *Index
	paths []string
	seen  map[*module]bool
	// open are the modules that wait for what loads before them.
	open map[*module]bool
}

// add puts m behind everything that it needs.
func (o *order) add(m *module) {
	if o.seen[m] {
		return
	}
	o.seen[m], o.open[m] = true, true
	for _, d := range m.deps {
		o.add(d)
	}
	for _, alias := range m.pre {
		for _, s := range o.index.lookup(alias) {
			if !o.waits(s) {
				o.add(s)
			}
		}
	}
	o.open[m] = false
	o.paths = append(o.paths, m.path)
}

// waits tells whether s, a soft dependency, needs a module that waits itself.
// Such a wish cannot be met, and a module loads without it.
func (o *order) waits(s *module) bool {
	return o.open[s] || slices.ContainsFunc(s.deps, func(d *module) bool { return o.open[d] })
}

// lookup returns the module called name or those with that alias.
func (x *Index) lookup(name string) []*module {
	if m := x.modules[fold(name)]; m != nil {
		return []*module{m}
	}
	return x.aliases.match(name)
}

// Name returns the module's name for its file, with '_' for '-', and "" where
// file does not look like a module: "kernel/lib/crc-t10dif.ko.xz" is crc_t10dif.
func Name(file string) string {
	base := path.Base(file)
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if name, ok := strings.CutSuffix(base, ext); ok {
			return fold(name)
		}
	}
	return ""
}

// fold gives names that mean the same module the same letters.
func fold(name string) string { return strings.ReplaceAll(name, "-", "_") }
