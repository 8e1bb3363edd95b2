package grub

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestResolveOrder has the order of util/resolve.c: the needs of a line are
// visited last to first, each before the module itself.
func TestResolveOrder(t *testing.T) {
	needs, err := parseModdep("a: b c\nb: d\nc:\nd: c\ne:\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := resolve(needs, []string{"e", "a", "d"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"e", "c", "d", "b", "a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseModdepRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"no colon":     "a: b\nc\n",
		"blank line":   "a: b\n\nc:\n",
		"twice":        "a: b\nb:\na:\n",
		"path":         "a: ../b\n",
		"empty name":   ": b\n",
		"padded name":  " a: b\n",
		"second colon": "a: b: c\n",
		"NUL":          "a: b\x00\n",
		"long name":    strings.Repeat("a", 65) + ":\n",
		"many lines":   strings.Repeat("a:\n", maxModdepLines+1),
		"many bytes":   "a:" + strings.Repeat(" ", maxModdep),
	} {
		if needs, err := parseModdep(text); err == nil {
			t.Errorf("%s: parsed as %v", name, needs)
		}
	}
}

// FuzzModdep asks of every list that is taken: each module resolves, or says
// why not, and nothing comes before what it needs.
func FuzzModdep(f *testing.F) {
	f.Add("xfs: fshelp\nfshelp:\nrelocator: mmap\nmmap:\n")
	f.Add("a: b\nb: a\n")
	f.Add("a: a\n")
	f.Add("a: missing\n")
	f.Fuzz(func(t *testing.T, text string) {
		needs, err := parseModdep(text)
		if err != nil {
			return
		}
		for name := range needs {
			order, err := resolve(needs, []string{name})
			if err != nil {
				continue
			}
			for i, m := range order {
				for _, dep := range needs[m] {
					if !slices.Contains(order[:i], dep) {
						t.Fatalf("%q comes before %q, which it needs: %v", m, dep, order)
					}
				}
			}
		}
	})
}
