package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// EntryNames returns the names of the site's entries, sorted.
func (s *Site) EntryNames() []string { return slices.Sorted(maps.Keys(s.Entries)) }

// groupNames returns the names of the site's groups, sorted.
func (s *Site) groupNames() []string { return slices.Sorted(maps.Keys(s.Groups)) }

// AllMachines returns the site's machines in the order in which they are tried:
// those of Machines, then those of each group.
func (s *Site) AllMachines() []Machine {
	all := slices.Clone(s.Machines)
	for _, name := range s.groupNames() {
		g := s.Groups[name]
		for _, m := range g.Match {
			all = append(all, Machine{Match: m, Group: name, Power: g.Power, Plan: g.Plan})
		}
	}
	for i := range all {
		all[i].Env, _, _ = s.expand(all[i])
	}
	return all
}

// site validates a recipe of kind "site".
func (v *validator) site(s *Site) {
	orDefault(&s.Name, "site")
	orDefault(&s.Channel, "stable")
	orDefault(&s.Trust, "keys")
	v.try("name", manifest.CheckName(s.Name))
	v.try("channel", manifest.CheckName(s.Channel))
	if s.Product != "" {
		v.try("product", manifest.CheckName(s.Product))
	}
	v.apt(&s.Apt)
	v.pathText("trust", s.Trust)
	v.number("valid_days", &s.ValidDays, 30, 1, maxValidDays)
	for _, name := range slices.Sorted(maps.Keys(s.Toolboxes)) {
		v.try("toolboxes."+name, manifest.CheckName(name))
		v.packages("toolboxes."+name, s.Toolboxes[name])
	}
	if len(s.Entries) == 0 {
		v.fail("entries", "", "a site needs at least one entry")
	}
	for _, name := range s.EntryNames() {
		v.try("entries."+name, manifest.CheckName(name))
		v.entry("entries."+name, s.Entries[name], scope{toolboxes: s.Toolboxes, images: s.Images})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		v.try("files."+name, manifest.CheckName(name))
		v.content("files."+name, s.Files[name])
	}
	v.atMost("files", len(s.Files), manifest.DefaultBounds().Files)
	v.images(s)
	v.sitesMenu("menu", s.Menu, s)
	v.limits(s.Limits)
	v.machines(s)
	v.boot("default", s.Default, s)
	if len(s.AllMachines()) == 0 && len(s.Default) == 0 {
		v.fail("default", `add "default: [ENTRY]"`, "no machine would boot anything")
	}
}

// machines validates machines and groups, and that no two of them match the same.
func (v *validator) machines(s *Site) {
	u := unique{validator: v, documents: s.Documents, first: map[any]string{}}
	for _, name := range s.groupNames() {
		v.power("groups."+name+".power", s.Groups[name].Power, false)
	}
	names, members := map[string]string{}, map[string]bool{}
	for i := range s.Machines {
		at, m := fmt.Sprintf("machines[%d]", i), &s.Machines[i]
		u.match(at+".match", &m.Match)
		v.member(at, m, s, names)
		v.plan(at, m.Plan, s)
		v.expand(at, *m, s)
		members[m.Group] = true
	}
	for _, name := range s.groupNames() {
		at, g := "groups."+name, s.Groups[name]
		v.try(at, manifest.CheckName(name))
		if len(g.Match) == 0 && !members[name] {
			v.fail(at+".match", `add "match: [{mac: ...}]"`, "the group has no machines")
		}
		for i := range g.Match {
			u.match(fmt.Sprintf("%s.match[%d]", at, i), &g.Match[i])
			v.expand(fmt.Sprintf("%s.match[%d]", at, i), Machine{Match: g.Match[i], Plan: g.Plan}, s)
		}
		v.plan(at, g.Plan, s)
	}
}

// plan validates what a machine or a group boots.
func (v *validator) plan(at string, p Plan, s *Site) {
	if len(p.Boot) == 0 {
		v.fail(at+".boot", `add "boot: [ENTRY]"`, "it boots nothing")
	}
	v.boot(at+".boot", p.Boot, s)
	v.sitesMenu(at+".menu", p.Menu, s)
	v.networks(at+".networks", p.Networks)
	v.hinted(at+".env", envHint, manifest.CheckEnv(p.Env))
}

// sitesMenu validates a menu that the agent shows, and sets its default.
func (v *validator) sitesMenu(at string, m *Menu, s *Site) {
	if m == nil {
		return
	}
	seconds := &m.Seconds
	if *seconds == 0 {
		seconds = nil
	}
	v.number(at+".seconds", &seconds, 10, 1, manifest.DefaultBounds().MenuSeconds)
	m.Seconds = *seconds
	v.boot(at+".entries", m.Entries, s)
}

// unique validates matches, and that each stands once.
type unique struct {
	*validator
	// documents says that not even their documents may have the same name.
	documents bool
	first     map[any]string
}

// match validates one; it is brought to lower case first, as vendors print MACs
// and UUIDs either way.
func (u *unique) match(at string, m *Match) {
	written := m.MAC
	m.MAC = strings.ToLower(strings.ReplaceAll(m.MAC, "-", ":"))
	m.UUID = strings.ToLower(m.UUID)
	if m.MAC != "" && manifest.CheckMatch(manifest.Match{MAC: m.MAC}) != nil {
		u.fail(at, `six pairs of digits: "52:54:00:12:34:56"`, "mac %q is not a MAC address", written)
	}
	u.try(at, manifest.CheckMatch(manifest.Match(*m)))
	key, what, hint := any(*m), "matches the same as", "a machine's first match decides; leave one of them"
	if u.documents {
		key, what = manifest.DocumentID(manifest.Match(*m)), "has the same document as"
		hint = "a machine's document is named by the first of uuid, serial and mac"
	}
	if other, taken := u.first[key]; taken {
		u.fail(at, hint, "%s %s", what, other)
	}
	u.first[key] = at
}

// boot validates a list of entries to boot.
func (v *validator) boot(field string, names []string, s *Site) {
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		if _, ok := s.Entries[name]; !ok {
			v.fail(at, didYouMean(name, s.EntryNames()), "no entry is called %q", name)
		}
		if slices.Contains(names[:i], name) {
			v.fail(at, "", "%q stands twice", name)
		}
	}
}
