package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// depText writes modules.dep: for each module all that it needs, in the order
// of depmod, where what loads first stands last.
func (p *pkg) depText(chosen []*module) string {
	var b strings.Builder
	for _, m := range chosen {
		all := p.need(nil, map[*module]bool{}, m)
		slices.Reverse(all)
		b.WriteString(m.path + ":")
		for _, d := range all[1:] {
			b.WriteString(" " + d.path)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// need appends m to all, behind its dependencies. It ends where modules depend
// on each other in a circle; the reader of the result refuses that.
func (p *pkg) need(all []*module, seen map[*module]bool, m *module) []*module {
	seen[m] = true
	for _, name := range m.info.depends {
		if d := p.modules[name]; d != nil && !seen[d] {
			all = p.need(all, seen, d)
		}
	}
	return append(all, m)
}

// aliasText writes modules.alias. A companion gets its leader's aliases, too.
func (p *pkg) aliasText(chosen []*module) string {
	var b strings.Builder
	b.WriteString("# Aliases of the chosen modules, from their .modinfo.\n")
	for _, m := range chosen {
		aliases := slices.Clone(m.info.aliases)
		if leader := p.modules[companions()[m.name]]; leader != nil {
			aliases = append(aliases, leader.info.aliases...)
		}
		slices.Sort(aliases)
		for _, a := range slices.Compact(aliases) {
			fmt.Fprintf(&b, "alias %s %s\n", a, m.name)
		}
	}
	return b.String()
}

// softdepText writes modules.softdep.
func softdepText(chosen []*module) string {
	var b strings.Builder
	b.WriteString("# Soft dependencies of the chosen modules, from their .modinfo.\n")
	for _, m := range chosen {
		for _, s := range m.info.softdeps {
			fmt.Fprintf(&b, "softdep %s %s\n", m.name, s)
		}
	}
	return b.String()
}
