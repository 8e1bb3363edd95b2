package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// entry is one way to start a system, as its file system describes it.
type entry struct {
	Title, Kernel, Cmdline string
	Initrds                []string
	// Of the Boot Loader Specification: the file's name and what orders entries.
	file, version, sortKey, machine string
}

const (
	// maxConfig is the most a configuration file may have, in bytes. grub.cfg
	// of a machine with ten kernels has 20 kB.
	maxConfig = 1 << 20
	// maxFound is how many entries of one file system are offered.
	maxFound = 64
)

// bases are where /boot is: it may be a partition of its own, or the ESP, and
// Ubuntu puts the root into the subvolume "@" of btrfs.
func bases() []string { return []string{".", "boot", "@/boot"} }

// scan lists what a file system with this uuid can start, the default first.
// What is there and cannot be used goes to log.
func scan(fsys fs.FS, uuid string, log func(format string, args ...any)) []entry {
	var found []entry
	for _, base := range bases() {
		env := parseEnv(optional(fsys, log, path.Join(base, "grub/grubenv"), path.Join(base, "grub2/grubenv")))
		found = append(found, scanBLS(fsys, base, env, log)...)
		for _, name := range []string{path.Join(base, "grub/grub.cfg"), path.Join(base, "grub2/grub.cfg")} {
			entries, err := parseGrub(optional(fsys, log, name), uuid, env)
			if err != nil {
				log("%s: %v", name, err)
			}
			found = append(found, entries...)
		}
	}
	var usable []entry
	for _, e := range found {
		same := func(o entry) bool {
			return o.Kernel == e.Kernel && o.Cmdline == e.Cmdline && slices.Equal(o.Initrds, e.Initrds)
		}
		e.Title = printable(e.Title)
		if err := e.check(fsys); err != nil {
			log("%q cannot be started: %v", e.Title, err)
		} else if len(usable) < maxFound && !slices.ContainsFunc(usable, same) {
			usable = append(usable, e)
		}
	}
	return usable
}

// scanBLS reads the entries of the Boot Loader Specification below base.
func scanBLS(fsys fs.FS, base string, env map[string]string, log func(format string, args ...any)) []entry {
	dir := path.Join(base, "loader/entries")
	files, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log("%v", err)
	}
	var entries []entry
	for _, file := range files[:min(len(files), maxEntries)] {
		if !strings.HasSuffix(file.Name(), ".conf") {
			continue
		}
		e := parseBLS(optional(fsys, log, path.Join(dir, file.Name())), env)
		if e.file = file.Name(); e.Title == "" {
			e.Title = e.name()
		}
		if e.Kernel != "" {
			entries = append(entries, e)
		}
	}
	orderBLS(entries, env["saved_entry"], loaderDefault(optional(fsys, log, path.Join(base, "loader/loader.conf"))))
	return entries
}

// optional returns the first of the files that is there, or "".
func optional(fsys fs.FS, log func(format string, args ...any), names ...string) string {
	for _, name := range names {
		text, err := read(fsys, name)
		if err == nil {
			return text
		}
		if !errors.Is(err, fs.ErrNotExist) {
			log("%v", err)
		}
	}
	return ""
}

// read returns a file of at most maxConfig bytes.
func read(fsys fs.FS, name string) (string, error) {
	if err := regular(fsys, name, maxConfig); err != nil {
		return "", err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig))
	return string(data), err
}

// regular wants a regular file: to open a pipe would wait for ever.
func regular(fsys fs.FS, name string, limit int64) error {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: is a %v and no file", name, info.Mode().Type())
	}
	if info.Size() > limit {
		return fmt.Errorf("%s: has %d bytes, more than %d", name, info.Size(), limit)
	}
	return nil
}

// check brings the paths of an entry into the form of io/fs and wants their
// files to be there.
func (e *entry) check(fsys fs.FS) error {
	var err error
	if e.Cmdline == "" { // RHEL 8 keeps it on another file system; without root= nothing starts
		return errors.New("it has no command line")
	}
	if e.Kernel, err = inside(fsys, e.Kernel, maxKernel); err != nil {
		return err
	}
	e.Initrds = slices.Clone(e.Initrds)
	for i, name := range e.Initrds {
		if e.Initrds[i], err = inside(fsys, name, maxInitrd); err != nil {
			return err
		}
	}
	return nil
}

// inside returns the path below the file system's root.
func inside(fsys fs.FS, name string, limit int64) (string, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	return name, regular(fsys, name, limit)
}

// printable leaves out control characters: titles go to the screen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\ufffd' {
			return -1
		}
		return r
	}, s)
}
