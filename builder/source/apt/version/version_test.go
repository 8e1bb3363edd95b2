package version

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCompare holds the cases that Debian Policy 5.6.12 spells out and those
// that other implementations got wrong.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "1.0-0", 0},
		{"0:1.0", "1.0", 0},
		{"1:1.0", "2.0", +1},
		{"1.0~rc1", "1.0", -1},
		{"1.0~~", "1.0~~a", -1},
		{"1.0~~a", "1.0~", -1},
		{"1.0~", "1.0", -1},
		{"1.0", "1.0a", -1},
		{"1.0a", "1.0+", -1},
		{"1.9", "1.10", -1},
		{"1.09", "1.9", 0},
		{"6.1.0-56", "6.1.0-9", +1},
		{"1-1-1", "1-2", +1},
		{"1.2.3-1+deb12u1", "1.2.3-1", +1},
		{"99999999999999999999999", "100000000000000000000000", -1},
		{"1:0", "01:0", 0},
		{"a.b", "ab", +1},
	} {
		if got := Compare(c.a, c.b); got != c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := Compare(c.b, c.a); got != -c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, v := range []string{"1", "1:2-3", "1-2-3", "0.0~git20200101+dfsg", "1:2:3", "v1.2", "2147483647:1"} {
		if err := Check(v); err != nil {
			t.Error(err)
		}
	}
	for _, v := range []string{"", ":1", "a:1", "1:", "1-", "-1", "1 2", "1_2", "1-2:3", "2147483648:1", "1/2", "1-\x7f", "1é"} {
		if Check(v) == nil {
			t.Errorf("version %q is taken", v)
		}
	}
}

// TestCompareAsDpkg puts random pairs, made to differ little, to dpkg.
func TestCompareAsDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Fatal("dpkg is missing (Debian package dpkg)")
	}
	rng := rand.New(rand.NewPCG(5, 6)) // fixed, so that a failure comes back
	for range 400 {
		a := randomVersion(rng)
		b := mutate(rng, a)
		if Check(a) != nil || Check(b) != nil {
			continue
		}
		got, want := Compare(a, b), 0
		switch {
		case dpkgSays(t, dpkg, a, "lt", b):
			want = -1
		case dpkgSays(t, dpkg, a, "gt", b):
			want = +1
		}
		if got != want {
			t.Errorf("Compare(%q, %q) = %d, dpkg says %d", a, b, got, want)
		}
	}
}

// TestCheckAsDpkg asks dpkg which strings are versions.
func TestCheckAsDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Fatal("dpkg is missing (Debian package dpkg)")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		v := mutate(rng, randomVersion(rng))
		// Like this dpkg prints a warning and goes on for versions that it
		// would not take from a package, so the output counts.
		out, _ := exec.Command(dpkg, "--compare-versions", v, "eq", v).CombinedOutput()
		want := len(out) == 0 || strings.Contains(string(out), "does not start with digit")
		if got := Check(v) == nil; got != want && v != "" {
			t.Errorf("Check(%q) = %v, dpkg: %q", v, Check(v), out)
		}
	}
}

func dpkgSays(t *testing.T, dpkg, a, op, b string) bool {
	t.Helper()
	err := exec.Command(dpkg, "--compare-versions", a, op, b).Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("dpkg --compare-versions %q %s %q: %v", a, op, b, err)
	}
	return err == nil
}

const alphabet = "0019aAz.+~-:"

func randomVersion(rng *rand.Rand) string {
	var s []byte
	for range 1 + rng.IntN(8) {
		s = append(s, alphabet[rng.IntN(len(alphabet))])
	}
	return "1" + string(s)
}

func mutate(rng *rand.Rand, v string) string {
	s := []byte(v)
	for range 1 + rng.IntN(2) {
		i, c := rng.IntN(len(s)), alphabet[rng.IntN(len(alphabet))]
		switch rng.IntN(3) {
		case 0:
			s[i] = c
		case 1:
			s = slices.Insert(s, i, c)
		case 2:
			if len(s) > 1 {
				s = slices.Delete(s, i, i+1)
			}
		}
	}
	return string(s)
}

// FuzzCompare checks that the order is one: antisymmetric and transitive, and
// that equal versions are interchangeable.
func FuzzCompare(f *testing.F) {
	f.Add("1.0", "1.0~rc1", "1:0.9-1+b2")
	f.Add("", "~", "-")
	f.Add("1a2", "1a02", "1a2-")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
		if ab != -Compare(b, a) {
			t.Errorf("Compare(%q, %q) is not antisymmetric", a, b)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Errorf("%q <= %q <= %q, but the first is after the last", a, b, c)
		}
		if ab == 0 && ac != bc {
			t.Errorf("%q and %q are the same, but not against %q", a, b, c)
		}
	})
}
