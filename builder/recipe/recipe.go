// Package recipe reads the YAML that people write. [Load] decodes a recipe
// strictly, fills in defaults and validates it; what it returns is complete and
// well-formed, so that no later stage checks again.
//
// Strict means: an unknown, duplicate or aliased key, a second document, an
// explicit tag, a null and a character that does not belong into a name, a
// title or a command line are all errors of type [*Error], with file and line
// and, where it can be guessed, what was meant.
//
// The package promises that paths in a recipe stay inside its project folder
// as far as their text goes; symbolic links are the reader's matter (os.Root).
// It does not look at the files, hosts and packages that a recipe names.
package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxSize bounds a recipe's file, in bytes. Most have about 1000; one that names
// 10,000 machines by three marks each has 1.1 MB, and is read in 0.2 s.
const MaxSize = 2 << 20

// Load reads the recipe at path.
func Load(path string) (*Recipe, error) {
	raw, err := readCapped(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, raw)
}

// Parse reads a recipe from its text; path is for messages and for [Recipe.Dir].
func Parse(path string, raw []byte) (*Recipe, error) {
	r := &Recipe{Path: path, Dir: projectDir(path), Raw: raw}
	root, err := parseYAML(path, raw)
	if err != nil {
		return nil, err
	}
	d := &decoder{path: path, lines: map[string]int{"": root.Line}}
	r.lines = d.lines
	if r.Kind, err = d.kind(root); err != nil {
		return nil, err
	}
	v := &validator{decoder: d}
	switch r.Kind {
	case KindMedium:
		r.Medium = &Medium{}
		if err := d.decode(root, "", r.Medium); err != nil {
			return nil, err
		}
		v.medium(r.Medium)
	case KindSite:
		r.Site = &Site{}
		if err := d.decode(root, "", r.Site); err != nil {
			return nil, err
		}
		v.site(r.Site)
	}
	return r, v.err()
}

// Mistake returns the error of a field that turned out to be wrong only when
// what it names was looked at.
func (r *Recipe) Mistake(field, hint, format string, args ...any) error {
	return &Error{Path: r.Path, Line: max(r.lines[field], 1), Field: field, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// Apt returns where the recipe's packages come from.
func (r *Recipe) Apt() Apt {
	if r.Kind == KindMedium {
		return r.Medium.Apt
	}
	return r.Site.Apt
}

// Trust returns the folder with the trust statement, relative to [Recipe.Dir].
func (r *Recipe) Trust() string {
	if r.Kind == KindMedium {
		return r.Medium.Trust
	}
	return r.Site.Trust
}

// Name returns the recipe's name, which names its results.
func (r *Recipe) Name() string {
	if r.Kind == KindMedium {
		return r.Medium.Name
	}
	return r.Site.Name
}

// Inputs lists every input that the recipe names, in its order. The entries of
// a site come in the order of their names.
func (r *Recipe) Inputs() []Input {
	var in []Input
	if r.Kind == KindMedium {
		in = append(in, r.Medium.Kernel.Input)
		in = append(in, r.Medium.Roots...)
		for _, e := range r.Medium.Menu {
			in = append(in, e.inputs()...)
		}
		for _, e := range r.Medium.Fallback {
			in = append(in, e.inputs()...)
		}
		return append(in, r.Toolboxes()[""].inputs()...)
	}
	for _, name := range r.Site.EntryNames() {
		in = append(in, r.Site.Entries[name].inputs()...)
	}
	in = append(in, fileInputs(r.Site.Files, func(c Content) Content { return c })...)
	in = append(in, r.Site.imageInputs()...)
	for _, name := range slices.Sorted(maps.Keys(r.Site.Toolboxes)) {
		in = append(in, r.Site.Toolboxes[name].inputs()...)
	}
	return in
}

// Toolboxes returns the toolboxes that the recipe describes, by name, with the images
// that are made of packages. A medium's own has the name "".
func (r *Recipe) Toolboxes() map[string]Toolbox {
	if r.Kind == KindSite {
		all := maps.Clone(r.Site.Toolboxes)
		for name, img := range r.Site.Images {
			if img.made() {
				if all == nil {
					all = map[string]Toolbox{}
				}
				all[img.RootName(name)] = img.root()
			}
		}
		return all
	}
	if r.Medium.Toolbox == nil {
		return nil
	}
	return map[string]Toolbox{"": r.Medium.Toolbox.Toolbox}
}

// Name identifies the bytes that the input comes from, as the lock does:
// "deb:PACKAGE", "url:URL" or "file:PATH".
func (in Input) Name() string {
	switch {
	case in.Deb != "":
		return "deb:" + in.Deb
	case in.URL != "":
		return "url:" + in.URL
	}
	return "file:" + in.File
}

// projectDir returns the folder that the paths of the recipe at path are
// relative to.
func projectDir(path string) string {
	dir := filepath.Dir(path)
	abs, err := filepath.Abs(dir)
	if err == nil && filepath.Base(abs) == "recipes" {
		return filepath.Join(dir, "..")
	}
	return dir
}

// readCapped returns the file's content unless it is larger than [MaxSize].
func readCapped(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: path, Line: 1, Msg: "no such file", Hint: neighbours(path)}
	}
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxSize {
		return nil, &Error{Path: path, Line: 1, Msg: fmt.Sprintf("not a recipe: want a file of at most %d bytes", MaxSize)}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return raw, nil
}

// neighbours is a hint at the recipes that lie where one was looked for, or "".
func neighbours(path string) string {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.yaml"))
	if err != nil || len(names) == 0 {
		return ""
	}
	return "there is " + strings.Join(names[:min(len(names), 5)], ", ")
}

// yamlLine finds the line number in messages of yaml.v3 ("yaml: line 3: ...").
var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s+)?line (\d+): `)

// yamlError turns an error of yaml.v3 into one with file and line.
func yamlError(path string, err error) error {
	msg, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	if strings.Contains(msg, "cannot start any token") {
		return &Error{Path: path, Line: line, Msg: msg, Hint: "lines are indented with spaces, never with a tab"}
	}
	return &Error{Path: path, Line: line, Msg: msg}
}
