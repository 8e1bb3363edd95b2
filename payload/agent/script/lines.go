package script

import (
	"slices"
	"strings"
	"time"
)

const (
	// maxLine bounds a line that is shown or kept, in characters. A terminal has
	// 80 to 200, and the log's own bound is 4096.
	maxLine = 1000
	// MaxTail is how much is kept for the report, in bytes.
	MaxTail = 64 << 10
	// burst and pace bound what is shown: so many lines at once, and then so many
	// a second. A serial line of 115200 baud takes some 140 lines a second, and a
	// console's queue has 256.
	burst = 100
	pace  = 20
)

// Lines makes lines of what a program prints, shows them, and keeps the last. It is
// for one writer.
type Lines struct {
	log      func(format string, args ...any)
	now      func() time.Time
	partial  []byte // of the line that has not ended
	cut      bool   // whether it has lost its end
	returned bool   // whether the carriage is back at its start
	tail     []string
	kept     int // bytes in tail

	budget float64 // lines that may be shown
	filled time.Time
	left   int // lines that were not
}

// NewLines returns Lines that are shown by log.
func NewLines(log func(format string, args ...any)) *Lines {
	return &Lines{log: log, now: time.Now, budget: burst, filled: time.Now()}
}

// Write implements io.Writer. It never fails. Of a line that is drawn over and
// over, as progress is, what was drawn last counts.
func (l *Lines) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n':
			l.end()
			continue
		case c == '\r': // counts once something follows that is no end of the line
			l.returned = true
			continue
		case l.returned:
			l.partial, l.cut, l.returned = l.partial[:0], false, false
		}
		if len(l.partial) < maxLine {
			l.partial = append(l.partial, c)
		} else {
			l.cut = true
		}
	}
	return len(p), nil
}

// end ends a line: it is kept, and shown if there is room.
func (l *Lines) end() {
	text := Clean(string(l.partial))
	if l.cut {
		text += "..."
	}
	l.partial, l.cut, l.returned = l.partial[:0], false, false
	l.keep(text)
	now := l.now()
	l.budget = min(burst, l.budget+pace*now.Sub(l.filled).Seconds())
	l.filled = now
	if l.budget < 1 {
		l.left++
		return
	}
	l.budget--
	l.tellLeft()
	l.log("| %s", text)
}

// tellLeft says how many lines were not shown.
func (l *Lines) tellLeft() {
	if l.left > 0 {
		l.log("| (%d lines left out)", l.left)
		l.left = 0
	}
}

// keep adds a line to the tail and drops the oldest that there is no room for.
func (l *Lines) keep(text string) {
	l.tail = append(l.tail, text)
	l.kept += len(text) + 1
	drop := 0
	for l.kept > MaxTail {
		l.kept -= len(l.tail[drop]) + 1
		drop++
	}
	l.tail = slices.Delete(l.tail, 0, drop)
}

// Finish ends what has not ended and returns the tail.
func (l *Lines) Finish() []string {
	if len(l.partial) > 0 {
		l.end()
	}
	l.tellLeft()
	return l.tail
}

// Clean makes one line of printable ASCII: escape sequences of terminals
// (ECMA-48: CSI to its final byte, others with the byte that follows) and control
// characters are dropped, tabs are blanks, and all else becomes '?'.
func Clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0x1b:
			i = escaped(s, i)
		case c == '\t':
			b.WriteByte(' ')
		case c < ' ' || c == 0x7f:
		case c > 0x7f:
			if c&0xc0 != 0x80 { // one for each character of UTF-8
				b.WriteByte('?')
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escaped returns where the escape sequence that begins at i ends.
func escaped(s string, i int) int {
	if i+1 >= len(s) {
		return i
	}
	if s[i+1] != '[' {
		return i + 1
	}
	for i += 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i
		}
	}
	return i
}
