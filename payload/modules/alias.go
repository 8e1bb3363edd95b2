package modules

import (
	"fmt"
	"slices"
	"strings"
)

// aliases holds the patterns under what they begin with up to the first
// wildcard. A modalias then meets only patterns that agree with its beginning,
// mostly bus, vendor and device: of 10,000 rules about 5.
type aliases map[string][]rule

// rule says that m serves devices whose modalias ends as the rest tells.
type rule struct {
	rest  string
	m     *module
	order int
}

// add adds one line of modules.alias.
func (a aliases) add(pattern string, m *module, order int) error {
	p, ok := normalize(pattern)
	if !ok {
		return fmt.Errorf("pattern %q: unmatched bracket", pattern)
	}
	n := strings.IndexAny(p, `*?[\`)
	if n < 0 {
		n = len(p)
	}
	a[p[:n]] = append(a[p[:n]], rule{rest: p[n:], m: m, order: order})
	return nil
}

// match returns the modules of all patterns that fit modalias.
func (a aliases) match(modalias string) []*module {
	key, ok := normalize(modalias)
	if !ok || len(key) > maxKey {
		return nil
	}
	var hits []rule
	for n := range len(key) + 1 {
		for _, r := range a[key[:n]] {
			if glob(r.rest, key[n:]) {
				hits = append(hits, r)
			}
		}
	}
	slices.SortFunc(hits, func(a, b rule) int { return a.order - b.order })
	var found []*module
	for _, h := range hits {
		if !slices.Contains(found, h.m) {
			found = append(found, h.m)
		}
	}
	return found
}

// normalize puts '_' for '-' except in brackets, where a '-' means a range. It
// reports false for unmatched brackets, like alias_normalize of kmod.
func normalize(alias string) (string, bool) {
	b := []byte(alias)
	in := false
	for i, c := range b {
		switch {
		case c == '[' && !in, c == ']' && in:
			in = !in
		case c == ']':
			return "", false
		case c == '-' && !in:
			b[i] = '_'
		}
	}
	return string(b), !in
}

// glob matches as fnmatch(3) without flags does: '*' stands for any bytes, '?'
// for one, "[a-c]" for one of a set and "[!a-c]" for one not in it; '\' takes
// the next byte's meaning. It needs len(pattern)*len(s) steps at most.
func glob(pattern, s string) bool {
	star, rest := "", "" // the last '*' and what it has not taken yet
	starred := false
	for {
		if pattern != "" && pattern[0] == '*' {
			pattern = pattern[1:]
			star, rest, starred = pattern, s, true
			continue
		}
		if pattern == "" && s == "" {
			return true
		}
		if n := one(pattern, s); n > 0 {
			pattern, s = pattern[n:], s[1:]
			continue
		}
		if !starred || rest == "" {
			return false
		}
		rest = rest[1:]
		pattern, s = star, rest
	}
}

// one matches the first byte of s and returns the length of the pattern's
// element that took it, or 0.
func one(pattern, s string) int {
	if pattern == "" || s == "" {
		return 0
	}
	switch c := pattern[0]; {
	case c == '?':
		return 1
	case c == '[':
		end := strings.IndexByte(pattern, ']')
		if inSet(pattern[1:end], s[0]) {
			return end + 1
		}
		return 0
	case c == '\\' && len(pattern) > 1:
		if pattern[1] == s[0] {
			return 2
		}
		return 0
	case c == s[0]:
		return 1
	}
	return 0
}

// inSet tells whether set, what stands between brackets, has c.
func inSet(set string, c byte) bool {
	want := true
	if strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^") {
		want, set = false, set[1:]
	}
	for i := 0; i < len(set); i++ {
		lo, hi := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			hi = set[i+2]
			i += 2
		}
		if lo <= c && c <= hi {
			return want
		}
	}
	return !want
}
