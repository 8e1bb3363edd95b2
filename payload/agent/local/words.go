package local

import (
	"errors"
	"fmt"
	"strings"
)

// errSyntax is wrapped by the errors of the parser of grub.cfg.
var errSyntax = errors.New("not a grub.cfg that is understood")

// word is one word of grub.cfg after quotes were taken off and variables put in.
// A bare one was written without any quotes, so that it may be "{" or "then".
type word struct {
	text string
	bare bool
}

// lexer cuts grub.cfg into commands. Its grammar is the shell-like one of GRUB's
// manual, section 16.
type lexer struct {
	text string
	pos  int
	// vars replaces variables; those that it does not have are empty.
	vars map[string]string
	// spent is how many bytes of variables were put in.
	spent int
}

// command returns the words of the next command, which ends in a newline or in
// one of ; & |. Braces are commands of their own. At the end it returns none.
func (l *lexer) command() ([]word, error) {
	var words []word
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case strings.IndexByte(" \t\r", c) >= 0:
			l.pos++
		case strings.HasPrefix(l.text[l.pos:], "\\\n"):
			l.pos += 2
		case c == '#':
			l.pos += len(l.text[l.pos:]) - len(strings.TrimLeftFunc(l.text[l.pos:], notNewline))
		case strings.IndexByte("\n;&|", c) >= 0:
			l.pos++
			if len(words) > 0 {
				return words, nil
			}
		case (c == '{' || c == '}') && l.alone():
			if len(words) > 0 && c == '}' {
				return words, nil
			}
			l.pos++
			return append(words, word{string(c), true}), nil
		default:
			w, err := l.word()
			if err != nil {
				return nil, err
			}
			words = append(words, w)
		}
	}
	return words, nil
}

func notNewline(r rune) bool { return r != '\n' }

// alone tells whether the character at hand stands alone, as braces of blocks do.
func (l *lexer) alone() bool {
	return l.pos+1 == len(l.text) || strings.IndexByte(" \t\r\n;&|#", l.text[l.pos+1]) >= 0
}

// word reads one word: quoted and bare pieces up to a blank or an end of command.
func (l *lexer) word() (word, error) {
	var b strings.Builder
	w := word{bare: true}
	for l.pos < len(l.text) && strings.IndexByte(" \t\r\n;&|", l.text[l.pos]) < 0 {
		var err error
		switch c := l.text[l.pos]; c {
		case '\'':
			w.bare = false
			err = l.single(&b)
		case '"':
			w.bare = false
			err = l.double(&b)
		case '\\':
			l.pos++
			if l.pos < len(l.text) {
				if c := l.text[l.pos]; c != '\n' {
					b.WriteByte(c)
				}
				l.pos++
			}
		case '$':
			w.bare = false
			err = l.variable(&b)
		default:
			b.WriteByte(c)
			l.pos++
		}
		if err != nil {
			return w, err
		}
	}
	w.text = b.String()
	return w, nil
}

// single reads '...', in which nothing is special.
func (l *lexer) single(b *strings.Builder) error {
	end := strings.IndexByte(l.text[l.pos+1:], '\'')
	if end < 0 {
		return fmt.Errorf("%w: a quote at byte %d does not end", errSyntax, l.pos)
	}
	b.WriteString(l.text[l.pos+1 : l.pos+1+end])
	l.pos += end + 2
	return nil
}

// double reads "...", in which $ is special, and \ before $, ", \ and newline.
func (l *lexer) double(b *strings.Builder) error {
	start := l.pos
	for l.pos++; l.pos < len(l.text); {
		switch c := l.text[l.pos]; {
		case c == '"':
			l.pos++
			return nil
		case c == '$':
			if err := l.variable(b); err != nil {
				return err
			}
		case c == '\\' && l.pos+1 < len(l.text) && strings.IndexByte("$\"\\\n", l.text[l.pos+1]) >= 0:
			if l.text[l.pos+1] != '\n' {
				b.WriteByte(l.text[l.pos+1])
			}
			l.pos += 2
		default:
			b.WriteByte(c)
			l.pos++
		}
	}
	return fmt.Errorf("%w: a quote at byte %d does not end", errSyntax, start)
}

// variable reads $name or ${name} and puts in what it stands for.
func (l *lexer) variable(b *strings.Builder) error {
	rest := l.text[l.pos+1:]
	if strings.HasPrefix(rest, "{") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return fmt.Errorf("%w: a variable at byte %d does not end", errSyntax, l.pos)
		}
		return l.put(b, rest[1:end], end+2)
	}
	n := 0
	for n < len(rest) && (rest[n] == '_' || rest[n] >= '0' && rest[n] <= '9' || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z') {
		n++
	}
	switch {
	case n > 0:
		return l.put(b, rest[:n], n+1)
	case rest != "" && strings.IndexByte("?*@#", rest[0]) >= 0:
		l.pos += 2 // of a function's call; there are none here
		return nil
	}
	b.WriteByte('$')
	l.pos++
	return nil
}

// maxVariables bounds the bytes that variables grow into, in all: one made of
// itself twice would double with every line, and a long one may stand in a
// thousand places. A grub.cfg of ten kernels uses 2 kB.
const maxVariables = 64 << 10

// put puts in a variable's value and goes on after its name.
func (l *lexer) put(b *strings.Builder, name string, length int) error {
	if l.spent += len(l.vars[name]); l.spent > maxVariables {
		return fmt.Errorf("%w: variables grow beyond %d bytes at %q", errSyntax, maxVariables, name)
	}
	b.WriteString(l.vars[name])
	l.pos += length
	return nil
}
