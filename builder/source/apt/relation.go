package apt

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/farboot/farboot/builder/source/apt/version"
)

// AnyOf is a group of alternatives: one of them is enough.
type AnyOf []Relation

// Relation names a package and, where Op is set, the versions of it that will
// do. In a Provides, Op is "" or "=".
type Relation struct {
	// Name has no architecture where it was "any" or "native"; another one
	// stays a part of the name ("libc6:i386"), which no index here has.
	Name    string
	Op      string // "<<", "<=", "=", ">=", ">>", or "" for any version
	Version string
}

// String writes the relation as control files have it.
func (r Relation) String() string {
	if r.Op == "" {
		return r.Name
	}
	return fmt.Sprintf("%s (%s %s)", r.Name, r.Op, r.Version)
}

// Allows tells whether a version will do.
func (r Relation) Allows(v string) bool {
	c := version.Compare(v, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return true
}

// String writes the alternatives as control files have them.
func (a AnyOf) String() string {
	var words []string
	for _, r := range a {
		words = append(words, r.String())
	}
	return strings.Join(words, " | ")
}

// packageName is what dpkg takes for one (lib/dpkg/parsehelp.c, pkg_name_is_illegal).
const packageName = `[A-Za-z0-9][A-Za-z0-9+._-]*`

var relationForm = regexp.MustCompile(`^(` + packageName + `)(:[a-z0-9-]+)?\s*(?:\(\s*(<<|<=|<|=|>=|>>|>)\s*(\S+?)\s*\))?$`)

// parseDepends reads a field like Depends, after Debian Policy 7.1.
func parseDepends(field string) ([]AnyOf, error) {
	var groups []AnyOf
	for _, part := range splitList(field) {
		var group AnyOf
		for alternative := range strings.SplitSeq(part, "|") {
			r, err := parseRelation(strings.TrimSpace(alternative))
			if err != nil {
				return nil, err
			}
			group = append(group, r)
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// parseProvides reads a Provides field.
func parseProvides(field string) ([]Relation, error) {
	list, err := ParseRelations(field)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.Op != "" && r.Op != "=" {
			return nil, fmt.Errorf("%w: provides %q: only = may stand there", ErrMalformed, r)
		}
	}
	return list, nil
}

// ParseRelations reads a field without alternatives: Provides, Conflicts,
// Breaks or Replaces.
func ParseRelations(field string) ([]Relation, error) {
	var list []Relation
	for _, part := range splitList(field) {
		r, err := parseRelation(part)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// splitList splits at commas. Nothing may follow the last one.
func splitList(field string) []string {
	var parts []string
	for part := range strings.SplitSeq(field, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func parseRelation(s string) (Relation, error) {
	m := relationForm.FindStringSubmatch(s)
	if m == nil {
		return Relation{}, fmt.Errorf("%w: %.80q is not a relation to a package", ErrMalformed, s)
	}
	r := Relation{Name: m[1], Op: m[3], Version: m[4]}
	if m[2] != ":any" && m[2] != ":native" {
		r.Name += m[2]
	}
	switch r.Op {
	case "":
		return r, nil
	case "<", ">": // obsolete, and never meant strictly
		r.Op += "="
	}
	if err := version.Check(r.Version); err != nil {
		return Relation{}, fmt.Errorf("%w: %.80q: %w", ErrMalformed, s, err)
	}
	return r, nil
}
