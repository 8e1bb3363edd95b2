// Package version orders the versions of Debian packages as dpkg does.
//
// The main call is [Compare]. The order is that of Debian Policy 5.6.12
// (epoch, upstream version, revision; "~" before everything, even the end).
// Compare takes any two strings; [Check] tells whether one is a version that
// dpkg would take. The package knows nothing of constraints ("<<", ">=").
package version

import (
	"fmt"
	"strings"
)

// maxEpoch is what fits into dpkg's int (lib/dpkg/parsehelp.c, parseversion).
const maxEpoch = "2147483647"

// Compare returns -1, 0 or +1, as a is earlier than, the same as or later
// than b.
func Compare(a, b string) int {
	aEpoch, aUpstream, aRevision := split(a)
	bEpoch, bUpstream, bRevision := split(b)
	if c := compareNumbers(aEpoch, bEpoch); c != 0 {
		return c
	}
	if c := comparePart(aUpstream, bUpstream); c != 0 {
		return c
	}
	return comparePart(aRevision, bRevision)
}

// Check says why v is not a version: the rules are those of dpkg's
// parseversion, which, other than the policy, lets an upstream version begin
// with a letter.
func Check(v string) error {
	epoch, upstream, revision := split(v)
	switch {
	case strings.HasPrefix(v, ":"):
		return fmt.Errorf("version %q: empty epoch", v)
	case !all(epoch, isDigit):
		return fmt.Errorf("version %q: epoch %q is not a number", v, epoch)
	case compareNumbers(epoch, maxEpoch) > 0:
		return fmt.Errorf("version %q: epoch %s is more than %s", v, epoch, maxEpoch)
	case upstream == "":
		return fmt.Errorf("version %q: no upstream version", v)
	case strings.HasSuffix(v, "-"):
		return fmt.Errorf("version %q: empty revision", v)
	case !all(upstream, func(c byte) bool { return isAlnum(c) || strings.IndexByte(".-+~:", c) >= 0 }):
		return fmt.Errorf("version %q: odd character in the upstream version", v)
	case !all(revision, func(c byte) bool { return isAlnum(c) || strings.IndexByte(".+~", c) >= 0 }):
		return fmt.Errorf("version %q: odd character in the revision", v)
	}
	return nil
}

// split cuts v into its parts. A missing epoch or revision is "", which
// compares like "0".
func split(v string) (epoch, upstream, revision string) {
	if before, after, ok := strings.Cut(v, ":"); ok {
		epoch, v = before, after
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// comparePart is dpkg's verrevcmp: parts without digits and numbers take
// turns, each compared in its own way.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for nonDigit(a) || nonDigit(b) {
			if c := order(a) - order(b); c != 0 {
				return sign(c)
			}
			a, b = rest(a), rest(b)
		}
		aLen, bLen := digits(a), digits(b)
		if c := compareNumbers(a[:aLen], b[:bLen]); c != 0 {
			return c
		}
		a, b = a[aLen:], b[bLen:]
	}
	return 0
}

// order ranks the first character of s: "~" first, then the end of a part
// (which a digit is too), then letters, then the other characters.
func order(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isAlpha(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// compareNumbers compares two runs of digits of any length, "" being zero.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return sign(len(a) - len(b))
	}
	return strings.Compare(a, b)
}

// rest drops the first character, if there is one.
func rest(s string) string {
	if s == "" {
		return s
	}
	return s[1:]
}

// digits counts the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func nonDigit(s string) bool { return s != "" && !isDigit(s[0]) }
func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool    { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isAlnum(c byte) bool    { return isDigit(c) || isAlpha(c) }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return +1
	}
	return 0
}
