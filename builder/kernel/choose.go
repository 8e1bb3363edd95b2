package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// ErrUnknown says that a recipe names neither a set nor a module.
var ErrUnknown = errors.New("no such module or set")

// choose returns the modules of the sets and names in want, those of always, and
// all that these depend on, sorted by path.
func (p *pkg) choose(want []string, always set) ([]*module, error) {
	c := choice{pkg: p, have: map[*module]bool{}, aliases: p.exactAliases()}
	first := p.matching(always)
	for _, name := range want {
		named, err := p.named(name)
		if err != nil {
			return nil, err
		}
		first = append(first, named...)
	}
	for _, m := range first {
		if err := c.add(m); err != nil {
			return nil, err
		}
	}
	return sorted(c.have), nil
}

// named returns the modules of a set, or the one of that name. A module that
// is built into the kernel is there without one.
func (p *pkg) named(name string) ([]*module, error) {
	for _, s := range sets() {
		if s.name == name {
			found := p.matching(s)
			if len(found) == 0 {
				return nil, fmt.Errorf("%w: kernel %s has no module of the set %q", ErrPackage, p.release, name)
			}
			return found, nil
		}
	}
	if m := p.modules[fold(name)]; m != nil {
		return []*module{m}, nil
	}
	if p.builtin[fold(name)] {
		return nil, nil
	}
	return nil, p.unknown(name)
}

// matching returns the modules of a set, in no order.
func (p *pkg) matching(s set) []*module {
	var found []*module
	for _, m := range p.modules {
		place := strings.TrimSuffix(strings.TrimPrefix(m.path, "kernel/"), ".ko")
		if anyCovers(s.take, place) && !anyCovers(s.leave, place) {
			found = append(found, m)
		}
	}
	return found
}

// unknown says what the kernel does not have and what may have been meant.
func (p *pkg) unknown(name string) error {
	candidates := Sets()
	for n := range p.modules {
		candidates = append(candidates, n)
	}
	slices.Sort(candidates)
	best, distance := "", 4 // more than 3 letters apart is not a slip
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(fold(name), c); d < distance && d < len(name) {
			best, distance = c, d
		}
	}
	hint := ""
	if best != "" {
		hint = fmt.Sprintf("did you mean %q? ", best)
	}
	return fmt.Errorf("module %q: %w in kernel %s; %ssets are %s", name, ErrUnknown, p.release, hint, strings.Join(Sets(), ", "))
}

// choice is a growing set of modules.
type choice struct {
	pkg     *pkg
	have    map[*module]bool
	aliases map[string][]*module
}

// add adds m with its dependencies. A soft dependency that neither the kernel
// nor the package has is passed over, as modprobe does.
func (c *choice) add(m *module) error {
	if c.have[m] {
		return nil
	}
	c.have[m] = true
	for _, name := range m.info.depends {
		d := c.pkg.modules[name]
		if d == m || d == nil && !c.pkg.builtin[name] {
			return fmt.Errorf("%w: %s depends on %q, which the package lacks", ErrPackage, m.path, name)
		}
		if d != nil {
			if err := c.add(d); err != nil {
				return err
			}
		}
	}
	for _, name := range before(m.info.softdeps) {
		for _, d := range c.lookup(name) {
			if err := c.add(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookup returns the module called name or those with that alias.
func (c *choice) lookup(name string) []*module {
	if m := c.pkg.modules[fold(name)]; m != nil {
		return []*module{m}
	}
	return c.aliases[fold(name)]
}

// exactAliases returns the aliases that have no wildcard, such as
// "crypto-crc32c". Soft dependencies may name them.
func (p *pkg) exactAliases() map[string][]*module {
	found := map[string][]*module{}
	for _, m := range p.modules {
		for _, a := range m.info.aliases {
			if !strings.ContainsAny(a, `*?[\`) {
				found[fold(a)] = append(found[fold(a)], m)
			}
		}
	}
	return found
}

// before returns the names that softdep strings want loaded first.
func before(softdeps []string) []string {
	var names []string
	for _, s := range softdeps {
		when := ""
		for word := range strings.FieldsSeq(s) {
			if word == "pre:" || word == "post:" {
				when = word
			} else if when == "pre:" {
				names = append(names, word)
			}
		}
	}
	return names
}

// sorted returns the modules by path.
func sorted(set map[*module]bool) []*module {
	var all []*module
	for m := range set {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *module) int { return strings.Compare(a.path, b.path) })
	return all
}
