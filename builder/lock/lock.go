// Package lock is the record of what a recipe resolved to. It lies beside the
// recipe (recipes/netboot.yaml -> recipes/netboot.lock) and names every input
// by version, path, size and SHA-256, so that the same lock gives the same
// bytes, on any machine and from any mirror.
//
// The main calls are [Load] and [Save]. A lock that does not belong to the
// recipe, or that was edited by hand, is refused with [ErrStale] or
// [ErrEdited]: there is no "use it anyway".
//
// A lock names no host: the mirror is the machine's matter, or the recipe's.
package lock

import (
	"errors"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// Format is the only layout version that this package reads and writes.
const Format = 1

// Errors that callers turn into hints. All mean: run "farboot lock", for
// an edited lock with --update.
var (
	ErrMissing = errors.New("no lock")
	ErrStale   = errors.New("stale lock")
	ErrEdited  = errors.New("edited lock")
)

// Lock is the content of a lock file.
type Lock struct {
	Format int `json:"format"`
	// Recipe is the SHA-256 over what in the recipe decides this lock's content;
	// see [RecipeSum].
	Recipe object.ID `json:"recipe"`
	// Epoch stands for "now" in everything that is built: the newest Date of
	// the repositories read, or the moment of locking where there were none.
	// Whole seconds, UTC.
	Epoch time.Time `json:"epoch"`
	// Archive is what was read to find the packages; nil where none were.
	Archive *Archive `json:"archive,omitzero"`
	// Inputs are sorted by Name.
	Inputs []Input `json:"inputs"`
	// Toolboxes are what the recipe's lists of packages came to.
	Toolboxes []Toolbox `json:"toolboxes,omitzero"`
	// Sum is the SHA-256 over this file's own content without Sum.
	Sum object.ID `json:"sum"`
}

// Archive is a state of the repositories. A later state of the same
// repositories must not be older.
type Archive struct {
	Suite string `json:"suite"`
	// Source tells the machine's own mirrors, "machine", from those that a
	// recipe names, without naming them: "recipe " and the start of a hash.
	Source string `json:"source"`
	// Date is the newest Date of the repositories.
	Date time.Time `json:"date"`
}

// Floor returns the Date that the state next must have at least: none, the
// zero time, if it is of another suite or source, or if a is nil.
func (a *Archive) Floor(next Archive) time.Time {
	if a == nil || a.Suite != next.Suite || a.Source != next.Source {
		return time.Time{}
	}
	return a.Date
}

// Input is one resolved input.
type Input struct {
	// Name is the input as the recipe has it: "deb:shim-signed",
	// "url:http://...", "file:keys/x". A package that another one led to is
	// named like one in the recipe.
	Name string `json:"name"`
	// Version is a package's version; empty otherwise.
	Version string `json:"version,omitzero"`
	// Arch is a package's architecture, "amd64" or "all"; empty otherwise.
	Arch string `json:"arch,omitzero"`
	// Path is where the bytes are: for a package relative to the mirror's base
	// ("pool/main/..."), for a URL the URL, for a file its path in the project.
	Path string `json:"path"`
	// Repo tells which repository of the suite has the package: "archive" or
	// "security"; empty otherwise.
	Repo string `json:"repo,omitzero"`
	object.Ref
}

// Toolbox is a list of packages with all that they depend on. To look that up
// again takes an index, and may give another answer.
type Toolbox struct {
	// Packages is the list that was asked for, sorted.
	Packages []string `json:"packages"`
	// All names the inputs that it came to, without "deb:", sorted.
	All []string `json:"all"`
}

// Toolbox returns the inputs that a sorted list of packages came to.
func (l *Lock) Toolbox(packages []string) ([]Input, bool) {
	i := slices.IndexFunc(l.Toolboxes, func(t Toolbox) bool { return slices.Equal(t.Packages, packages) })
	if i < 0 {
		return nil, false
	}
	var all []Input
	for _, name := range l.Toolboxes[i].All {
		in, ok := l.Lookup("deb:" + name)
		if !ok {
			return nil, false
		}
		all = append(all, in)
	}
	return all, true
}

// Lookup returns the input called name.
func (l *Lock) Lookup(name string) (Input, bool) {
	for _, in := range l.Inputs {
		if in.Name == name {
			return in, true
		}
	}
	return Input{}, false
}
