package grub

import (
	"strings"
	"testing"
)

// splitter collects the words of commands.
type splitter struct {
	commands [][]string
	words    []string
	word     strings.Builder
	open     bool // a word has begun; a quote begins one even if nothing is in it
}

func (s *splitter) add(text string) {
	s.word.WriteString(text)
	s.open = true
}

func (s *splitter) endWord() {
	if s.open {
		s.words = append(s.words, s.word.String())
		s.word.Reset()
		s.open = false
	}
}

func (s *splitter) endCommand() {
	s.endWord()
	if s.words != nil {
		s.commands, s.words = append(s.commands, s.words), nil
	}
}

// parseScript splits a script into commands and their words by the rules of
// grub-core/script/yylex.l (GRUB 2.06), as far as generated scripts have need
// of them. A variable or an operator that farboot does not write itself fails
// the test: it would be an injected one.
func parseScript(t *testing.T, script string) [][]string {
	t.Helper()
	var s splitter
	quoted := func(i int) string {
		end := strings.IndexByte(script[i+1:], script[i])
		if end < 0 {
			t.Fatalf("open quote at %q", script[i:])
		}
		return script[i+1 : i+1+end]
	}
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case c == ' ' || c == '\t':
			s.endWord()
		case c == '\n' || c == ';':
			s.endCommand()
		case c == '{' || c == '}':
			s.endWord()
			s.add(string(c))
			s.endWord()
		case c == '#' && !s.open:
			i += strings.IndexByte(script[i:], '\n') - 1
		case c == '\'' || c == '"':
			text := quoted(i)
			if c == '"' && !known(text) {
				t.Fatalf("double quotes at %q", script[i:])
			}
			s.add(text)
			i += len(text) + 1
		case c == '\\':
			i++
			s.add(script[i : i+1])
		case strings.IndexByte("|&<>`", c) >= 0 || c == '$' && !known(script[i:]):
			t.Fatalf("operator or variable at %q", script[i:])
		default:
			s.add(string(c))
		}
	}
	s.endCommand()
	return s.commands
}

// known tells whether text starts with a variable that farboot itself writes.
func known(text string) bool {
	for _, name := range []string{"$grub_platform", "$root", "$lockdown"} {
		if strings.HasPrefix(text, name) {
			return true
		}
	}
	return false
}
