package toolbox

import (
	"bufio"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// libraryDirs are where Debian's loader looks by itself ("ld.so
// --list-diagnostics", path.system_dirs). There is no ld.so.cache in a toolbox, so
// that what stands in ld.so.conf does not count.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}

// maxMissing bounds the list in an error's message.
const maxMissing = 20

// checkPrograms makes sure that each program and library finds its interpreter
// and the libraries that it was linked with. It returns the scripts whose
// interpreter is not there: some packages have one for a shell or a language that
// only a part of them needs.
func (t *root) checkPrograms() (scripts []string, err error) {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f := t.files[name]
		if !f.mode.IsRegular() || f.size < 4 {
			continue
		}
		head := make([]byte, 4)
		if _, err := t.content(f).ReadAt(head, 0); err != nil {
			return nil, fmt.Errorf("toolbox: %s: %w", name, err)
		}
		switch {
		case string(head) == elf.ELFMAG:
			missing = append(missing, t.unresolved(f)...)
		case string(head[:2]) == "#!" && f.mode&0o111 != 0:
			if want := t.interpreter(f); want != "" {
				scripts = append(scripts, fmt.Sprintf("/%s of %s needs %s", name, f.from.name, want))
			}
		}
	}
	if len(missing) > maxMissing {
		missing = append(missing[:maxMissing], fmt.Sprintf("and %d more", len(missing)-maxMissing))
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s: list a package that has it, or what needs it under drop", ErrLibrary, strings.Join(missing, "; "))
	}
	return scripts, nil
}

// interpreter returns what a script is to be run by where that is not there,
// or "".
func (t *root) interpreter(f *file) string {
	line, err := bufio.NewReader(io.LimitReader(t.content(f), 256)).ReadString('\n')
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if err != nil || len(words) == 0 {
		return ""
	}
	if t.lookup(words[0]) == nil {
		return words[0]
	}
	if path.Base(words[0]) == "env" && len(words) > 1 && !strings.HasPrefix(words[1], "-") {
		found := func(dir string) bool { return t.lookup(path.Join(dir, words[1])) != nil }
		if !slices.ContainsFunc(commandDirs, found) {
			return words[1]
		}
	}
	return ""
}

// unresolved tells what a program or library lacks. Object files, such as
// kernel modules, and programs for other processors lack nothing.
func (t *root) unresolved(f *file) []string {
	e, err := elf.NewFile(t.content(f))
	if err != nil || e.Machine != elf.EM_X86_64 || e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return nil
	}
	var missing []string
	lacks := func(what string) {
		missing = append(missing, fmt.Sprintf("/%s of %s needs %s", f.path, f.from.name, what))
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), maxPath))
		if text := strings.TrimRight(string(name), "\x00"); err != nil || t.lookup(text) == nil {
			lacks(text)
		}
	}
	needed, err := e.ImportedLibraries()
	if err != nil {
		lacks(fmt.Sprintf("what cannot be read: %v", err))
	}
	dirs := searchPath(e, "/"+path.Dir(f.path))
	for _, name := range needed {
		if !slices.ContainsFunc(dirs, func(dir string) bool { return t.isLibrary(path.Join(dir, name)) }) {
			lacks(name)
		}
	}
	return missing
}

// maxPath is the length of an interpreter's path, in bytes (PATH_MAX of Linux).
const maxPath = 4096

// searchPath returns the folders in which the loader looks for what a file that
// lies in the folder origin needs (ld.so(8)).
func searchPath(e *elf.File, origin string) []string {
	runpath, _ := e.DynString(elf.DT_RUNPATH)
	if len(runpath) == 0 {
		runpath, _ = e.DynString(elf.DT_RPATH)
	}
	var dirs []string
	for _, list := range runpath {
		for dir := range strings.SplitSeq(list, ":") {
			dir = strings.ReplaceAll(dir, "${ORIGIN}", origin)
			dirs = append(dirs, strings.ReplaceAll(dir, "$ORIGIN", origin))
		}
	}
	return append(dirs, libraryDirs...)
}

// isLibrary tells whether a library for this processor lies at name.
func (t *root) isLibrary(name string) bool {
	f := t.lookup(name)
	if f == nil || !f.mode.IsRegular() {
		return false
	}
	e, err := elf.NewFile(t.content(f))
	return err == nil && e.Machine == elf.EM_X86_64
}
