package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// Placeholders returns the names that stand in braces in a text, each once, in
// their order: "{HOSTNAME}" has HOSTNAME. Names are those of variables (see
// [CheckEnv]); all other braces are text.
func Placeholders(text string) []string {
	var names []string
	walk(text, func(_, name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	})
	return names
}

// Text returns what the file holds on a machine with these variables: its
// Content, and where Expand says so each placeholder's value in its place. What
// comes in with a value is not looked at again. Without a value for a placeholder
// there is no text.
func (f FlashFile) Text(env Env) (string, error) {
	if !f.Expand {
		return f.Content, nil
	}
	var out strings.Builder
	missing := ""
	walk(f.Content, func(text, name string) {
		out.WriteString(text)
		if name == "" {
			return
		}
		value, ok := env[name]
		if !ok && missing == "" {
			missing = name
		}
		out.WriteString(value)
	})
	if missing != "" {
		return "", fmt.Errorf("%w: file %q: nothing says what {%s} is on this machine", ErrMalformed, f.Path, missing)
	}
	return out.String(), nil
}

// walk cuts text into plain parts, each with the name of the placeholder behind
// it, or "" where it ends.
func walk(text string, f func(plain, name string)) {
	start := 0
	for at := 0; at < len(text); at++ {
		if text[at] != '{' {
			continue
		}
		n := strings.IndexByte(text[at:], '}')
		if n < 0 {
			break
		}
		if name := text[at+1 : at+n]; isVariable(name) {
			f(text[start:at], name)
			at += n
			start = at + 1
		}
	}
	f(text[start:], "")
}

// isVariable tells whether name could be a variable's.
func isVariable(name string) bool {
	for i, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return name != ""
}
