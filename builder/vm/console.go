package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// console takes what a guest prints on its serial line, keeps it as plain text
// and lets one caller at a time wait for phrases.
type console struct {
	raw io.Writer // a copy of the bytes as they come, or nil

	mu      sync.Mutex
	text    []byte // without escape sequences
	plain   plain
	seen    int           // up to where text has been matched
	changed chan struct{} // closed at the next change
	ended   bool
}

func newConsole(raw io.Writer) *console { return &console{raw: raw, changed: make(chan struct{})} }

// Write implements io.Writer. It never fails.
func (c *console) Write(p []byte) (int, error) {
	if c.raw != nil {
		c.raw.Write(p) // whoever looks on may go away; the machine runs on
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = c.plain.append(c.text, p)
	c.wake()
	return len(p), nil
}

// end says that no more will be printed.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.wake()
}

func (c *console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// expect waits for the first of the phrases behind the last match.
func (c *console) expect(ctx context.Context, phrases []string) (string, error) {
	longest := 0
	for _, p := range phrases {
		longest = max(longest, len(p))
	}
	searched := 0
	for {
		c.mu.Lock()
		phrase, end := first(c.text, max(c.seen, searched), phrases)
		if end > 0 {
			c.seen = end
		}
		searched = len(c.text) - longest + 1
		changed, ended := c.changed, c.ended
		c.mu.Unlock()
		switch {
		case end > 0:
			return phrase, nil
		case ended:
			return "", c.missing(phrases, fmt.Errorf("the machine has ended"))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", c.missing(phrases, context.Cause(ctx))
		}
	}
}

// first finds the phrase that comes first in text behind from, the longest of
// several, and where it ends; 0 where there is none.
func first(text []byte, from int, phrases []string) (phrase string, end int) {
	start := len(text)
	for _, p := range phrases {
		i := bytes.Index(text[from:], []byte(p))
		if i >= 0 && (from+i < start || from+i == start && len(p) > len(phrase)) {
			start, phrase, end = from+i, p, from+i+len(p)
		}
	}
	return phrase, end
}

// missing makes the error of phrases that did not come.
func (c *console) missing(phrases []string, cause error) error {
	const lines = 40 // about two screens
	return fmt.Errorf("vm: the serial console does not show %q: %w; its last lines:\n%s", phrases, cause, c.tail(lines))
}

// String returns the whole text.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// tail returns the last n lines that are not blank.
func (c *console) tail(n int) string {
	lines := slices.DeleteFunc(strings.Split(c.String(), "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	return "\t" + strings.Join(lines[max(0, len(lines)-n):], "\n\t")
}

// plain turns a terminal's stream into text: escape sequences (ECMA-48) and
// control characters go. Where the cursor jumps to another place a line begins,
// and where it skips columns there is a blank, so that words stay words.
type plain struct {
	state byte // what the next byte belongs to; 0 is text
	cr    bool // the last byte was a carriage return
}

// States of plain, named by the byte that leads into them.
const (
	escape  = 0x1b
	control = '[' // control sequence: parameters, then a final byte
	str     = ']' // a string for the terminal, up to BEL or ESC \
	charset = '(' // intermediate bytes, then a final one
)

// append adds the text in p to dst.
func (s *plain) append(dst, p []byte) []byte {
	for _, b := range p {
		switch s.state {
		case escape:
			s.state = afterEscape(b)
		case control:
			if b >= '@' && b <= '~' {
				s.state = 0
				dst = append(dst, movement(b)...)
			}
		case str:
			if b == '\a' {
				s.state = 0
			} else if b == escape {
				s.state = escape
			}
		case charset:
			if b < ' ' || b > '/' {
				s.state = 0
			}
		default:
			dst = s.text(dst, b)
		}
	}
	return dst
}

// text adds a byte outside of any sequence.
func (s *plain) text(dst []byte, b byte) []byte {
	if s.cr && b != '\n' && b != '\r' {
		dst = append(dst, '\n') // back to the line's beginning, to write over it
	}
	s.cr = b == '\r'
	switch {
	case b == escape:
		s.state = escape
	case b >= ' ' && b != 0x7f, b == '\n', b == '\t':
		dst = append(dst, b)
	}
	return dst
}

// afterEscape returns the state that a byte behind ESC leads into.
func afterEscape(b byte) byte {
	switch {
	case b == '[':
		return control
	case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
		return str
	case b >= ' ' && b <= '/':
		return charset
	}
	return 0
}

// movement returns the text that stands for a control sequence.
func movement(final byte) string {
	switch final {
	case 'H', 'f', 'd', 'A', 'B', 'E', 'F':
		return "\n"
	case 'C', 'G':
		return " "
	}
	return ""
}
