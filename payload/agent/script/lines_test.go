package script

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shown collects what is logged.
type shown []string

func (s *shown) log(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, test := range map[string]struct {
		writes []string
		want   []string
	}{
		"in pieces":        {[]string{"he", "llo\nwor", "ld\n"}, []string{"hello", "world"}},
		"no end":           {[]string{"a\nb"}, []string{"a", "b"}},
		"blank":            {[]string{"a\n\nb\n"}, []string{"a", "", "b"}},
		"Windows":          {[]string{"a\r\nb\r", "\nc\r\n"}, []string{"a", "b", "c"}},
		"progress":         {[]string{"1%\r2%", "\r3%\r", "100%\n"}, []string{"100%"}},
		"progress at last": {[]string{"1%\r2%\r"}, []string{"2%"}},
		"long":             {[]string{long + "yz", "more\nb\n"}, []string{long + "...", "b"}},
		"long, anew":       {[]string{long + "more\r", "b\n"}, []string{"b"}},
		"long, exact":      {[]string{long + "\r", "\n"}, []string{long}},
		"colour":           {[]string{"\x1b[1;31mred\x1b[0m \x1b(Bplain\n"}, []string{"red Bplain"}},
		"cursor":           {[]string{"a\x1b[2J\x1b[Hb\x07\n"}, []string{"ab"}},
		"cut escape":       {[]string{"a\x1b\n", "b\x1b[3\n"}, []string{"a", "b"}},
		"not ASCII":        {[]string{"für \xff\x80 \x9b31m\n"}, []string{"f?r ? 31m"}},
		"tab":              {[]string{"a\tb\n"}, []string{"a b"}},
		"fake line":        {[]string{"[   1.00] trust: all is well\n"}, []string{"[   1.00] trust: all is well"}},
	} {
		var s shown
		l := NewLines(s.log)
		for _, w := range test.writes {
			if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: wrote %d, %v", name, n, err)
			}
		}
		if diff := cmp.Diff(test.want, l.Finish()); diff != "" {
			t.Errorf("%s: kept:\n%s", name, diff)
		}
		for i := range s {
			if s[i] != "| "+test.want[i] {
				t.Errorf("%s: shown %q", name, s[i])
			}
		}
	}
}

// Of a flood only so much is shown, and it is said how much is not.
func TestPace(t *testing.T) {
	var s shown
	l := NewLines(s.log)
	now := time.Unix(0, 0)
	l.now, l.filled = func() time.Time { return now }, now
	flood := func(n int) {
		for range n {
			fmt.Fprintln(l, "flood")
		}
	}
	flood(burst + 500)
	if len(s) != burst {
		t.Errorf("%d lines at once", len(s))
	}
	now = now.Add(time.Second)
	flood(pace + 7)
	if len(s) != burst+1+pace || s[burst] != "| (500 lines left out)" {
		t.Errorf("after a second %d lines, the first %q", len(s)-burst, s[burst])
	}
	tail := l.Finish()
	if s[len(s)-1] != "| (7 lines left out)" || len(tail) != burst+500+pace+7 {
		t.Errorf("at the end: %q, %d kept", s[len(s)-1], len(tail))
	}
}

// The end of what was printed is kept, in whole lines.
func TestTail(t *testing.T) {
	l := NewLines(func(string, ...any) {})
	for i := range 100_000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	tail := l.Finish()
	size := 0
	for _, line := range tail {
		size += len(line) + 1
	}
	if size > MaxTail || size < MaxTail-20 || tail[len(tail)-1] != "line 99999" || !strings.HasPrefix(tail[0], "line ") {
		t.Errorf("%d bytes, from %q to %q", size, tail[0], tail[len(tail)-1])
	}
}

// Whatever is printed, in whatever pieces: printable ASCII in bounded lines, each
// marked.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nb\x1b[31mc\n"), 1)
	f.Add([]byte(strings.Repeat("x", maxLine)+"\ry\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		var s shown
		l := NewLines(s.log)
		for piece = max(1, piece%64); len(data) > 0; {
			n := min(piece, len(data))
			l.Write(data[:n])
			data = data[n:]
		}
		tail := l.Finish()
		for i, line := range append(tail, s...) {
			if len(line) > maxLine+len("| ...") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q", line)
			}
			if i >= len(tail) && !strings.HasPrefix(line, "| ") {
				t.Errorf("not marked: %q", line)
			}
		}
	})
}
