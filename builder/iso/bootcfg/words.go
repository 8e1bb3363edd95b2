package bootcfg

import (
	"iter"
	"strings"
)

// word is a word of GRUB's language, in which variables are not replaced yet.
type word struct {
	text  string // without variables: for keywords
	parts []part
}

// part is text, or the name of a variable.
type part struct{ text, variable string }

// commands splits a text into commands (GRUB's manual, "Shell-like scripting"). Braces
// are commands of their own.
func commands(text string) iter.Seq[[]word] {
	return func(yield func([]word) bool) {
		l := &lexer{rest: text}
		var now []word
		for {
			w, end := l.next()
			brace := w != nil && !l.quoted && (w.text == "{" || w.text == "}")
			if w != nil && !brace && len(now) < maxWords {
				now = append(now, *w)
			}
			if (end || brace) && len(now) > 0 {
				if !yield(now) {
					return
				}
				now = nil
			}
			if brace && !yield([]word{*w}) {
				return
			}
			if l.done {
				return
			}
		}
	}
}

// lexer splits text into words.
type lexer struct {
	rest   string
	quoted bool // a part of the last word stood in quotes
	done   bool
}

// next returns the next word, or nil where a command ends.
func (l *lexer) next() (w *word, end bool) {
	for {
		for strings.HasPrefix(l.rest, "\\\n") { // the line goes on
			l.rest = l.rest[2:]
		}
		if l.rest == "" || l.rest[0] == 0 {
			l.done = true
			return nil, true
		}
		switch l.rest[0] {
		case ' ', '\t', '\r':
			l.rest = l.rest[1:]
		case '\n', ';', '&', '|':
			l.rest = l.rest[1:]
			return nil, true
		case '#':
			_, l.rest, _ = strings.Cut(l.rest, "\n")
			return nil, true
		default:
			return l.word(), false
		}
	}
}

// word reads a word up to a blank or an operator.
func (l *lexer) word() *word {
	w := &word{}
	l.quoted = false
	for l.rest != "" {
		switch l.rest[0] {
		case ' ', '\t', '\r', '\n', ';', '&', '|', 0:
			return w
		case '\'':
			l.quoted = true
			text, rest, _ := strings.Cut(l.rest[1:], "'")
			l.rest = rest
			w.add(part{text: text})
		case '"':
			l.quoted = true
			l.rest = l.rest[1:]
			l.doubleQuoted(w)
		case '\\':
			l.escape(w)
		case '$':
			l.variable(w)
		default:
			l.plain(w, " \t\r\n;&|\x00'\"\\$")
		}
	}
	return w
}

// doubleQuoted reads up to a closing quote.
func (l *lexer) doubleQuoted(w *word) {
	for l.rest != "" {
		switch l.rest[0] {
		case '"':
			l.rest = l.rest[1:]
			return
		case '\\':
			l.escape(w)
		case '$':
			l.variable(w)
		default:
			l.plain(w, "\"\\$")
		}
	}
}

// plain reads up to one of these characters.
func (l *lexer) plain(w *word, until string) {
	n := strings.IndexAny(l.rest, until)
	if n < 0 {
		n = len(l.rest)
	}
	w.add(part{text: l.rest[:n]})
	l.rest = l.rest[n:]
}

// escape reads a backslash and what it protects.
func (l *lexer) escape(w *word) {
	l.rest = l.rest[1:]
	if l.rest == "" {
		return
	}
	if l.rest[0] != '\n' {
		w.add(part{text: l.rest[:1]})
	}
	l.rest = l.rest[1:]
}

// variable reads "$name" or "${name}".
func (l *lexer) variable(w *word) {
	l.rest = l.rest[1:]
	if strings.HasPrefix(l.rest, "{") {
		name, rest, ok := strings.Cut(l.rest[1:], "}")
		if ok && name != "" && !strings.ContainsAny(name, " \n") {
			l.rest = rest
			w.add(part{variable: name})
			return
		}
	}
	n := 0
	for n < len(l.rest) && isName(l.rest[n]) {
		n++
	}
	if n == 0 {
		w.add(part{text: "$"})
		return
	}
	w.add(part{variable: l.rest[:n]})
	l.rest = l.rest[n:]
}

func isName(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// add puts a part behind the others. No word is longer than a kernel's command line.
func (w *word) add(p part) {
	if len(w.text)+len(p.text) > maxWord || len(w.parts) > maxWords {
		return
	}
	w.text += p.text
	if n := len(w.parts); n > 0 && p.variable == "" && w.parts[n-1].variable == "" {
		w.parts[n-1].text += p.text
		return
	}
	w.parts = append(w.parts, p)
}
