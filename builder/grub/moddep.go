package grub

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Limits of moddep.lst. Debian 12's has 276 lines and 5.7 KB.
const (
	maxModdep      = 256 << 10 // bytes
	maxModdepLines = 4096
)

var moduleName = regexp.MustCompile(`^[A-Za-z0-9_+-]{1,64}$`)

// parseModdep reads moddep.lst: one line "name: need need" per module. It
// refuses names that are not plain words, and a module that has two lines.
func parseModdep(text string) (map[string][]string, error) {
	if len(text) > maxModdep {
		return nil, fmt.Errorf("moddep.lst: %d bytes, at most %d are read", len(text), maxModdep)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > maxModdepLines {
		return nil, fmt.Errorf("moddep.lst: %d lines, at most %d are read", len(lines), maxModdepLines)
	}
	needs := make(map[string][]string, len(lines))
	for i, line := range lines {
		name, rest, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("moddep.lst:%d: %q has no colon", i+1, line)
		}
		if _, twice := needs[name]; twice {
			return nil, fmt.Errorf("moddep.lst:%d: module %q a second time", i+1, name)
		}
		words := strings.Fields(rest)
		for _, w := range append([]string{name}, words...) {
			if !moduleName.MatchString(w) {
				return nil, fmt.Errorf("moddep.lst:%d: %q is not a module name", i+1, w)
			}
		}
		needs[name] = words
	}
	return needs, nil
}

// closure returns the named modules and all that they need, what is needed
// first. The order is grub-mkimage's (util/resolve.c): each line's needs are
// visited last to first.
func closure(src fs.FS, names []string) ([]string, error) {
	text, err := fs.ReadFile(src, "moddep.lst")
	if err != nil {
		return nil, fmt.Errorf("grub: %w", err)
	}
	needs, err := parseModdep(string(text))
	if err != nil {
		return nil, fmt.Errorf("grub: %w", err)
	}
	return resolve(needs, names)
}

// resolve walks the needs depth first.
func resolve(needs map[string][]string, names []string) ([]string, error) {
	var order []string
	seen := make(map[string]bool) // true while its needs are being visited
	var visit func(name string) error
	visit = func(name string) error {
		if open, known := seen[name]; open {
			return fmt.Errorf("grub: module %q needs itself", name)
		} else if known {
			return nil
		}
		deps, listed := needs[name]
		if !listed {
			return fmt.Errorf("grub: no module %q", name)
		}
		seen[name] = true
		for _, dep := range slices.Backward(deps) {
			if err := visit(dep); err != nil {
				return err
			}
		}
		seen[name] = false
		order = append(order, name)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}
