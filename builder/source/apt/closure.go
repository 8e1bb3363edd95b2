package apt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Errors of [Index.Closure], for errors.Is.
var (
	// ErrConflict says that two packages that are wanted exclude each other.
	ErrConflict = errors.New("conflict")
	// ErrUnmet says that nothing in the index meets a dependency.
	ErrUnmet = errors.New("unmet dependency")
	// ErrAmbiguous says that several packages would do alike, and that the
	// list has to name one of them.
	ErrAmbiguous = errors.New("ambiguous dependency")
)

// Closure returns the packages called names with all that they depend on, by
// name, each in its newest version: what "apt-get install
// --no-install-recommends" installs into an empty root. Essential packages are
// in it only where something depends on them, as there.
//
// The way there is apt's own (pkgDepCache::MarkInstall of apt 2.6): what is
// named counts from the start; of alternatives, the first that can be had is
// taken; of packages that provide the same, the one that bears the name, then an
// essential one, then the one of the highest priority. Where apt would go on by
// the order of its cache, Closure refuses with [ErrAmbiguous]: to name one is the
// recipe's matter. It refuses as well, with [ErrConflict] or [ErrUnmet], where
// apt would begin to remove packages again.
//
// Architecture qualifiers (":any", ":native") make no difference: there is one
// architecture.
func (x *Index) Closure(names []string) ([]Package, error) {
	s := &solver{index: x, chosen: map[string]*choice{}, provided: map[string][]string{}}
	for name, e := range x.packages {
		s.addProvided(name, e.provides)
	}
	for _, name := range names {
		if err := s.take(name, nil); err != nil {
			return nil, err
		}
	}
	for _, c := range slices.Clone(s.order) {
		if err := s.meet(c); err != nil {
			return nil, err
		}
	}
	var all []Package
	for _, name := range slices.Sorted(maps.Keys(s.chosen)) {
		all = append(all, s.chosen[name].Package)
	}
	return all, nil
}

// solver is a growing choice of packages.
type solver struct {
	index    *Index
	provided map[string][]string // packages that provide a name, in no order
	chosen   map[string]*choice  // by name
	order    []*choice           // as they were chosen
}

// choice is a chosen package, and what wanted it first.
type choice struct {
	Package
	by *choice // nil: it was asked for
}

// chain tells how the package came to be chosen: "mdadm > udev > libudev1".
func (c *choice) chain() string {
	if c.by == nil {
		return c.Name
	}
	return c.by.chain() + " > " + c.Name
}

// addProvided takes what the package called name provides into the books. A
// field that cannot be read counts when the package is wanted.
func (s *solver) addProvided(name, field string) {
	if field == "" {
		return
	}
	provides, err := parseProvides(field)
	if err != nil {
		return
	}
	for _, r := range provides {
		if list := s.provided[r.Name]; len(list) == 0 || list[len(list)-1] != name {
			s.provided[r.Name] = append(list, name)
		}
	}
}

// take chooses the package called name, without what it depends on.
func (s *solver) take(name string, by *choice) error {
	if s.chosen[name] != nil {
		return nil
	}
	p, err := s.index.Lookup(name)
	if err != nil {
		return err
	}
	c := &choice{p, by}
	for _, other := range s.order {
		if err := exclude(c, other); err != nil {
			return err
		}
	}
	s.chosen[name] = c
	s.order = append(s.order, c)
	return nil
}

// install chooses a package with all that it depends on, or leaves everything
// as it was.
func (s *solver) install(name string, by *choice) error {
	if s.chosen[name] != nil {
		return nil
	}
	before := len(s.order)
	err := s.take(name, by)
	if err == nil {
		err = s.meet(s.chosen[name])
	}
	if err != nil {
		for _, c := range s.order[before:] {
			delete(s.chosen, c.Name)
		}
		s.order = s.order[:before]
	}
	return err
}

// meet chooses what a package depends on.
func (s *solver) meet(c *choice) error {
	for _, group := range slices.Concat(c.PreDepends, c.Depends) {
		if s.isMet(group) {
			continue
		}
		if err := s.meetAny(c, group); err != nil {
			return err
		}
	}
	return nil
}

// isMet tells whether one of the alternatives is chosen already.
func (s *solver) isMet(group AnyOf) bool {
	return slices.ContainsFunc(group, func(r Relation) bool {
		if c := s.chosen[r.Name]; c != nil && r.Allows(c.Version) {
			return true
		}
		return slices.ContainsFunc(s.provided[r.Name], func(name string) bool {
			return s.chosen[name] != nil && s.chosen[name].provides(r)
		})
	})
}

// meetAny chooses the first of the alternatives that can be had.
func (s *solver) meetAny(c *choice, group AnyOf) error {
	var failed []error
	for _, r := range group {
		candidates, err := s.candidates(r)
		if err != nil {
			return fmt.Errorf("%s depends on %s: %w", c.chain(), group, err)
		}
		for _, name := range candidates {
			err := s.install(name, c)
			if err == nil {
				return nil
			}
			if errors.Is(err, ErrAmbiguous) {
				return err
			}
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return fmt.Errorf("%w: %s depends on %s, which %s has not", ErrUnmet, c.chain(), group, s.index.config.describe())
	}
	return errors.Join(failed...)
}

// candidates lists the packages that would meet a relation, best first.
func (s *solver) candidates(r Relation) ([]string, error) {
	var names []string
	if e, ok := s.index.packages[r.Name]; ok && r.Allows(e.version) {
		names = append(names, r.Name)
	}
	var providers []Package
	for _, name := range s.provided[r.Name] {
		if name == r.Name {
			continue
		}
		if p, err := s.index.Lookup(name); err == nil && p.provides(r) {
			providers = append(providers, p)
		}
	}
	slices.SortFunc(providers, func(a, b Package) int {
		if d := a.rank() - b.rank(); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	if len(names) == 0 && len(providers) > 1 && providers[0].rank() == providers[1].rank() {
		return nil, fmt.Errorf("%w: name one that provides %s: %s", ErrAmbiguous, r, nameList(providers))
	}
	for _, p := range providers {
		names = append(names, p.Name)
	}
	return names, nil
}

// nameList writes the names of at most maxProviders packages.
func nameList(packages []Package) string {
	var names []string
	for i, p := range packages {
		if i == maxProviders {
			names = append(names, "...")
			break
		}
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// priorities are apt's, best first (apt-pkg/deb/deblistparser.cc, PrioList). One
// that it does not know counts as the last.
var priorities = []string{"required", "important", "standard", "optional", "extra"}

// rank orders packages that provide the same: less is better.
func (p Package) rank() int {
	if p.Essential {
		return 0
	}
	i := slices.Index(priorities, p.Priority)
	if i < 0 {
		i = len(priorities) - 1
	}
	return i + 1
}

// provides tells whether the package's Provides meets r. One without a version
// meets no relation that has one (Debian Policy 7.5).
func (p Package) provides(r Relation) bool {
	return slices.ContainsFunc(p.Provides, func(have Relation) bool {
		return have.Name == r.Name && (r.Op == "" || have.Op != "" && r.Allows(have.Version))
	})
}

// exclude says why two packages cannot both be there.
func exclude(a, b *choice) error {
	for _, pair := range [][2]*choice{{a, b}, {b, a}} {
		c, other := pair[0], pair[1]
		for _, field := range []struct {
			verb      string
			relations []Relation
		}{{"conflicts with", c.Conflicts}, {"breaks", c.Breaks}} {
			for _, r := range field.relations {
				if r.Name == other.Name && r.Allows(other.Version) || other.provides(r) {
					return fmt.Errorf("%w: %s %s %s; %s is wanted as %s, %s as %s",
						ErrConflict, c.Name, field.verb, r, c.Name, c.chain(), other.Name, other.chain())
				}
			}
		}
	}
	return nil
}
