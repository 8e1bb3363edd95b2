package apt

import (
	"errors"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/source/aptsim"
)

// small is an archive for the corners of [Index.Closure]. Fields are written
// "Name: value; Name: value".
func small(t *testing.T) *Index {
	t.Helper()
	m := aptsim.Debian(t, "bookworm")
	for name, fields := range map[string]string{
		"a":          "Depends: b (>= 2), c | d",
		"b":          "Depends: a; Pre-Depends: lib:any",
		"c":          "Depends: nowhere",
		"d":          "",
		"lib":        "",
		"old":        "Depends: d (>= 99)",
		"hungry":     "Depends: virtual",
		"v1":         "Provides: virtual; Priority: optional",
		"v2":         "Provides: virtual (= 5); Priority: important",
		"pickless":   "Depends: alike",
		"e1":         "Provides: alike",
		"e2":         "Provides: alike",
		"versioned":  "Depends: virtual (>= 4)",
		"tooexact":   "Depends: virtual (>= 6)",
		"fighter":    "Conflicts: enemy; Depends: lib",
		"enemy":      "",
		"viaenemy":   "Depends: enemy",
		"fightermod": "Depends: fighter",
		"breaker":    "Breaks: d (<< 3)",
		"peaceful":   "Breaks: d (<< 1)",
		"mta":        "Provides: mail; Conflicts: mail",
		"mta2":       "Provides: mail; Conflicts: mail",
		"retreat":    "Depends: breakerdep | lib",
		"breakerdep": "Depends: e1, breaker",
	} {
		p := aptsim.Package{Name: name, Version: "2", Fields: map[string]string{}}
		for field := range strings.SplitSeq(fields, "; ") {
			if k, v, ok := strings.Cut(field, ": "); ok {
				p.Fields[k] = v
			}
		}
		m.Suite("bookworm").Add(p)
	}
	m.Publish()
	return mustOpen(t, m)
}

// TestClosure: what is chosen, and what is refused with which explanation.
func TestClosure(t *testing.T) {
	x := small(t)
	for _, test := range []struct{ list, want string }{
		{"a", "a b d lib"}, // a cycle, and an alternative that cannot be had
		{"a c", "unmet dependency: c depends on nowhere"}, // asked for by name, it is not passed over
		{"d d", "d"},                  // twice
		{"hungry", "hungry v2"},       // the higher priority
		{"hungry v1", "hungry v1"},    // what is named counts from the start
		{"versioned", "v2 versioned"}, // a Provides with a version
		{"versioned v1", "v1 v2 versioned"},
		{"mta", "mta"},                 // nothing conflicts with itself
		{"d peaceful", "d peaceful"},   // breaks older ones only
		{"retreat d", "d lib retreat"}, // the first alternative would break d; what it brought is gone again
		{"old", "unmet dependency: old depends on d (>= 99), which bookworm, bookworm-updates, bookworm-security (main) has not"},
		{"tooexact", "unmet dependency: tooexact depends on virtual (>= 6)"},
		{"pickless", "pickless depends on alike: ambiguous dependency: name one that provides alike: e1, e2"},
		{"pickless e2", "e2 pickless"},
		{"fightermod viaenemy", "conflict: fighter conflicts with enemy; fighter is wanted as fightermod > fighter, enemy as viaenemy > enemy"},
		{"viaenemy fightermod", "conflict: fighter conflicts with enemy; fighter is wanted as fightermod > fighter, enemy as viaenemy > enemy"},
		{"d breaker", "conflict: breaker breaks d (<< 3); breaker is wanted as breaker, d as d"},
		{"mta mta2", "conflict: mta2 conflicts with mail"},
		{"lost", `no such package "lost"`},
	} {
		got := ""
		packages, err := x.Closure(strings.Fields(test.list))
		if err != nil {
			got = err.Error()
		} else {
			var names []string
			for _, p := range packages {
				names = append(names, p.Name)
			}
			got = strings.Join(names, " ")
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s:\n got %s\nwant %s", test.list, got, test.want)
		}
	}
	for list, class := range map[string]error{"pickless": ErrAmbiguous, "old": ErrUnmet, "d breaker": ErrConflict, "lost": ErrNotFound} {
		if _, err := x.Closure(strings.Fields(list)); !errors.Is(err, class) {
			t.Errorf("%s: got %v, want %v", list, err, class)
		}
	}
}
