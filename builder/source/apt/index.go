package apt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/farboot/farboot/builder/source/apt/version"
	"github.com/farboot/farboot/payload/object"
)

// Package is one package of an index.
type Package struct {
	Name     string
	Version  string
	Arch     string // "amd64" or "all"
	Filename string // relative to a mirror's base: "pool/main/..."
	Repo     string // RepoArchive or RepoSecurity
	object.Ref
	PreDepends, Depends []AnyOf
	Conflicts, Breaks   []Relation
	Provides            []Relation
	// Essential and Priority ("required", "optional", ...) decide between
	// packages that provide the same.
	Essential bool
	Priority  string
}

// Index knows the newest version of every package. It does not change, and may
// be used by several goroutines.
type Index struct {
	config   *Config
	date     time.Time
	packages map[string]entry
	skipped  []error
}

func newIndex(cfg *Config, parts []*part) *Index {
	x := &Index{config: cfg, packages: map[string]entry{}}
	for _, p := range parts {
		x.skipped = append(x.skipped, p.skipped...)
		if p.release.date.After(x.date) {
			x.date = p.release.date
		}
		for name, e := range p.packages {
			keepNewest(x.packages, name, e)
		}
	}
	return x
}

// keepNewest adds a package unless one of the same or a higher version is
// there: of equal versions the first read counts, as for apt.
func keepNewest(packages map[string]entry, name string, e entry) {
	if old, ok := packages[name]; !ok || version.Compare(e.version, old.version) > 0 {
		packages[name] = e
	}
}

// Lookup returns the newest version of the package called name. Where there is
// none the error wraps [ErrNotFound] and says what was read and what name may
// have been meant.
func (x *Index) Lookup(name string) (Package, error) {
	e, ok := x.packages[name]
	if !ok {
		return Package{}, fmt.Errorf("%w %q in %s%s", ErrNotFound, name, x.config.describe(), x.hint(name))
	}
	p := Package{
		Name: name, Version: e.version, Arch: e.arch, Filename: e.filename, Repo: e.repo, Ref: e.ref,
		Essential: e.essential, Priority: e.priority,
	}
	var err error
	if p.PreDepends, err = parseDepends(e.preDepends); err != nil {
		return Package{}, fmt.Errorf("package %q: Pre-Depends: %w", name, err)
	}
	if p.Depends, err = parseDepends(e.depends); err != nil {
		return Package{}, fmt.Errorf("package %q: Depends: %w", name, err)
	}
	if p.Conflicts, err = ParseRelations(e.conflicts); err != nil {
		return Package{}, fmt.Errorf("package %q: Conflicts: %w", name, err)
	}
	if p.Breaks, err = ParseRelations(e.breaks); err != nil {
		return Package{}, fmt.Errorf("package %q: Breaks: %w", name, err)
	}
	if p.Provides, err = parseProvides(e.provides); err != nil {
		return Package{}, fmt.Errorf("package %q: Provides: %w", name, err)
	}
	return p, nil
}

// Date is the newest Date of the repositories read: a lock's Epoch.
func (x *Index) Date() time.Time { return x.date }

// Skipped tells which mirrors were passed over, and why: each is worth a
// warning.
func (x *Index) Skipped() []error { return slices.Clone(x.skipped) }

// URLs returns where p may be had, mirror after mirror.
func (x *Index) URLs(p Package) []string {
	urls, err := x.config.URLs(p.Repo, p.Filename)
	if err != nil {
		panic("apt: package of another index: " + err.Error())
	}
	return urls
}

// describe names what is read: "bookworm, bookworm-updates (main)".
func (c *Config) describe() string {
	var suites []string
	for _, r := range c.Repositories {
		suites = append(suites, r.Suite)
	}
	return fmt.Sprintf("%s (%s)", strings.Join(suites, ", "), strings.Join(c.Components, ", "))
}

// hint ends the message about a name that the index does not have.
func (x *Index) hint(name string) string {
	if providers := x.providers(name); len(providers) > 0 {
		return fmt.Sprintf(": it is a virtual package; name one that provides it: %s", strings.Join(providers, ", "))
	}
	if near := x.nearest(name); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// maxProviders bounds the list of providers in a message.
const maxProviders = 5

// providers lists packages that provide name, by name.
func (x *Index) providers(name string) []string {
	var list []string
	for candidate, e := range x.packages {
		if !strings.Contains(e.provides, name) { // saves parsing nearly all
			continue
		}
		provides, err := parseProvides(e.provides)
		if err == nil && slices.ContainsFunc(provides, func(r Relation) bool { return r.Name == name }) {
			list = append(list, candidate)
		}
	}
	slices.Sort(list)
	if len(list) > maxProviders {
		list = append(list[:maxProviders], "...")
	}
	return list
}

// nearest returns the name that differs least from name, by at most a third of
// its letters, or "".
func (x *Index) nearest(name string) string {
	best, least := "", len(name)/3+1
	for _, candidate := range slices.Sorted(maps.Keys(x.packages)) {
		if max(len(candidate)-len(name), len(name)-len(candidate)) >= least {
			continue
		}
		if d := levenshtein.ComputeDistance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}
