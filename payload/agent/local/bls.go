package local

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// parseBLS reads one entry of type 1 of the Boot Loader Specification
// (uapi-group.org, "The Boot Loader Specification"): lines of a key and a value.
// Fedora's and RHEL's entries hold variables of grubenv, which env has; those
// that it does not have are left out. An entry without a Linux kernel, as one
// that starts an EFI program, comes back without one.
func parseBLS(text string, env map[string]string) entry {
	var e entry
	var options []string
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.Title = value
		case "version":
			e.version = value
		case "sort-key":
			e.sortKey = value
		case "machine-id":
			e.machine = value
		case "linux":
			e.Kernel = grubPath(value)
		case "initrd":
			for _, name := range strings.Fields(expand(value, env)) {
				e.Initrds = append(e.Initrds, grubPath(name))
			}
		case "options":
			options = append(options, strings.Fields(expand(value, env))...)
		}
	}
	e.Cmdline = strings.Join(options, " ")
	return e
}

// expand puts in variables, $name or ${name}.
func expand(text string, env map[string]string) string {
	l, b := lexer{text: text, vars: env}, strings.Builder{}
	for l.pos < len(l.text) {
		if l.text[l.pos] != '$' {
			b.WriteByte(l.text[l.pos])
			l.pos++
		} else if l.variable(&b) != nil {
			return b.String()
		}
	}
	return b.String()
}

// parseEnv reads grubenv (GRUB's manual, section 17): name=value lines under a
// comment, filled up with "#". A backslash and a newline continue a value.
func parseEnv(text string) map[string]string {
	env := map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && !strings.HasPrefix(name, "#") && len(env) < maxEntries {
			env[name] = value
		}
	}
	return env
}

// loaderDefault returns the pattern of the default entry in loader.conf, or "".
func loaderDefault(text string) string {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "default" {
			return words[1]
		}
	}
	return ""
}

// orderBLS sorts entries as the specification says, newest first, and puts the
// default before them: the first one whose file fits a name or pattern of wants.
func orderBLS(entries []entry, wants ...string) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.spent() != b.spent():
			return cmp.Compare(boolInt(a.spent()), boolInt(b.spent()))
		case (a.sortKey == "") != (b.sortKey == ""):
			return cmp.Compare(boolInt(a.sortKey == ""), boolInt(b.sortKey == ""))
		case a.sortKey != "":
			return cmp.Or(cmp.Compare(a.sortKey, b.sortKey), cmp.Compare(a.machine, b.machine),
				compareVersions(b.version, a.version), compareVersions(b.file, a.file))
		}
		return compareVersions(b.file, a.file)
	})
	for _, want := range wants {
		want = strings.TrimSuffix(want, ".conf")
		i := slices.IndexFunc(entries, func(e entry) bool {
			ok, err := path.Match(want, e.name())
			return want != "" && (e.name() == want || ok && err == nil)
		})
		if i >= 0 {
			e := entries[i]
			copy(entries[1:i+1], entries[:i])
			entries[0] = e
			return
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// name is the entry's file name without ".conf" and the count of tries, which
// systemd-boot adds as "+left" or "+left-done".
func (e entry) name() string {
	name := strings.TrimSuffix(e.file, ".conf")
	before, count, ok := strings.Cut(name, "+")
	if ok && strings.Trim(count, "0123456789-") == "" {
		return before
	}
	return name
}

// spent tells whether systemd-boot has given the entry up: no tries are left.
func (e entry) spent() bool {
	count, ok := strings.CutPrefix(strings.TrimSuffix(e.file, ".conf"), e.name()+"+")
	left, _, _ := strings.Cut(count, "-")
	return ok && strings.Trim(left, "0") == ""
}

// compareVersions orders versions by the UAPI version format, as far as kernels
// need it: numbers by value, what lies between by bytes, "~" before everything.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, ra := leading(a)
		nb, rb := leading(b)
		if na != nb {
			switch {
			case isDigit(na[0]) && isDigit(nb[0]):
				if c := compareNumbers(na, nb); c != 0 {
					return c
				}
			case na == "~" || nb == "~":
				return boolInt(nb == "~") - boolInt(na == "~")
			case isDigit(na[0]) != isDigit(nb[0]):
				return boolInt(isDigit(na[0])) - boolInt(isDigit(nb[0]))
			default:
				return cmp.Compare(na, nb)
			}
		}
		a, b = ra, rb
	}
	switch {
	case strings.HasPrefix(a, "~"):
		return -1
	case strings.HasPrefix(b, "~"):
		return 1
	}
	return cmp.Compare(len(a), len(b))
}

// leading splits off the first number, or the first byte.
func leading(s string) (first, rest string) {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	n = max(n, 1)
	return s[:n], s[n:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// compareNumbers compares decimal digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
