package menu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
	"github.com/google/go-cmp/cmp"
)

// items returns a menu of n items, for half a minute.
func items(n int) Menu {
	m := Menu{Title: "What shall this machine boot?", Time: 30 * time.Second}
	for i := range n {
		m.Items = append(m.Items, Item{Name: fmt.Sprintf("entry-%d", i+1), Title: fmt.Sprintf("Entry %d", i+1)})
	}
	return m
}

// lab is a menu that is shown in a synctest bubble.
type lab struct {
	heard  chan console.Heard
	cancel context.CancelFunc
	begin  time.Time

	mu    sync.Mutex
	lines []string // "ttyS0: ..." or "*: ...", as printed

	name, by string
	err      error
	took     time.Duration
	done     chan struct{}
}

// open shows m on consoles.
func open(t *testing.T, m Menu, consoles ...string) *lab {
	t.Helper()
	l := &lab{heard: make(chan console.Heard), begin: time.Now(), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	s := screen{
		all: func(line string) { l.print("*", line) },
		one: func(console string, lines ...string) { l.print(console, lines...) },
	}
	go func() {
		defer close(l.done)
		l.name, l.by, l.err = choose(ctx, s, l.heard, m)
		l.took = time.Since(l.begin)
	}()
	for _, c := range consoles {
		l.typed(c, "")
	}
	return l
}

// typed types text on a console, if the menu is still there.
func (l *lab) typed(c, text string) {
	select {
	case l.heard <- console.Heard{Console: c, Data: []byte(text)}:
	case <-l.done:
	}
	synctest.Wait()
}

func (l *lab) print(console string, lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		l.lines = append(l.lines, console+": "+line)
	}
}

// shown returns what was printed since the last call.
func (l *lab) shown() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// want waits for the end and tells how it differs.
func (l *lab) want(t *testing.T, name, by string, took time.Duration) {
	t.Helper()
	<-l.done
	if l.err != nil || l.name != name || l.by != by || l.took != took {
		t.Errorf("%q by %q after %v, %v; want %q by %q after %v", l.name, l.by, l.took, l.err, name, by, took)
	}
}

// Nobody types: the first item is taken when the time is over, and everybody sees
// it coming.
func TestNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, items(2), "ttyS0", "tty0")
		l.want(t, "entry-1", "", 30*time.Second)
		page := []string{
			"What shall this machine boot?",
			"  1b  Entry 1 (entry-1)",
			"  2c  Entry 2 (entry-2)",
			"Type a label, such as 2c, and Enter. Enter alone shows this again.",
			"Without a choice it is 1b entry-1 in 30 s.",
		}
		var want []string
		for _, c := range []string{"ttyS0: ", "tty0: "} {
			for _, line := range page {
				want = append(want, c+line)
			}
		}
		for _, s := range []string{"20", "10", "5"} {
			want = append(want, "*: menu: 1b entry-1 in "+s+" s; Enter shows the menu")
		}
		want = append(want, "*: menu: nobody chose: 1b entry-1")
		if diff := cmp.Diff(want, l.shown()); diff != "" {
			t.Error(diff)
		}
	})
}

// Whoever types first on any console has chosen; the others see it.
func TestChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, items(3), "ttyS0", "tty0")
		l.shown()
		time.Sleep(7 * time.Second)
		for _, b := range "3d" { // a byte at a time
			l.typed("tty0", string(b))
		}
		l.typed("ttyS0", "2") // half a label elsewhere is not mixed up with it
		l.typed("tty0", "\r")
		l.typed("ttyS0", "b\r")
		l.want(t, "entry-3", "tty0", 7*time.Second)
		if diff := cmp.Diff([]string{"*: menu: 3d entry-3, chosen on tty0"}, l.shown()); diff != "" {
			t.Error(diff)
		}
	})
}

// Whoever types late is waited for, but the menu ends in its time and two minutes
// at most, whatever is typed.
func TestTime(t *testing.T) {
	for _, test := range []struct {
		name  string
		at    time.Duration // of the first byte
		every time.Duration // between the others, 0 for none
		text  string
		want  time.Duration
	}{
		{"one Enter early", 5 * time.Second, 0, "\r", 30 * time.Second},
		{"one Enter late", 29 * time.Second, 0, "\r", 49 * time.Second},
		{"one digit late", 29 * time.Second, 0, "2", 49 * time.Second},
		{"noise", 29 * time.Second, 0, "\xfe", 30 * time.Second},
		{"BREAK", 29 * time.Second, 0, "\x00", 30 * time.Second},
		{"what spoils a line", 29 * time.Second, 0, "login:\r", 30 * time.Second},
		{"Enter without end", 0, 10 * time.Millisecond, "\r", 150 * time.Second},
		{"promises without end", 0, 10 * time.Millisecond, "2\r", 150 * time.Second},
		{"noise without end", 0, 10 * time.Millisecond, "\x00\xff~}#\x1b[A", 30 * time.Second},
		{"another getty without end", 0, time.Second, "login: \r\nPassword: ", 30 * time.Second},
		{"a flood", 0, time.Microsecond * 500, "\x13\xff\x11", 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := open(t, items(3), "ttyS0")
				time.Sleep(test.at)
				for {
					l.typed("ttyS0", test.text)
					if test.every == 0 {
						break
					}
					select {
					case <-time.After(test.every):
						continue
					case <-l.done:
					}
					break
				}
				l.want(t, "entry-1", "", test.want)
				if lines := l.shown(); len(lines) > 30*int(1+test.want/hush) {
					t.Errorf("%d lines were printed in %v", len(lines), test.want)
				}
			})
		})
	}
}

// Enter turns the pages and an unclear line is answered, both not faster than a
// slow line takes.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, items(40), "ttyS0")
		count := func(lines []string) (pages string, unclear int) {
			for _, line := range lines {
				if i := strings.Index(line, "[page "); i >= 0 {
					pages += line[i+6 : i+7]
				}
				if strings.Contains(line, "no label of this menu") {
					unclear++
				}
			}
			return pages, unclear
		}
		for _, step := range []struct {
			after   time.Duration
			text    string
			pages   string
			unclear int
		}{
			{0, "\r", "1", 0}, // the first page came by itself just now
			{hush, "\r", "2", 0},
			{hush, "\r\r\r", "3", 0},
			{hush, "\r\n", "1", 0},
			{hush, "nonsense\r", "", 1},
			{0, "nonsense\r\r", "", 0},
			{hush - 1, "\r", "", 0},
			{1, "\r", "2", 0},
			{hush, "40a\r", "", 1},
		} {
			time.Sleep(step.after)
			l.typed("ttyS0", step.text)
			if pages, unclear := count(l.shown()); pages != step.pages || unclear != step.unclear {
				t.Errorf("%q is answered by pages %q and %d remarks, want %q and %d", step.text, pages, unclear, step.pages, step.unclear)
			}
		}
		l.typed("ttyS0", "40g\r")
		l.want(t, "entry-40", "ttyS0", 6*hush)
	})
}

// A machine whose consoles cannot be read does not wait for anybody.
func TestNobodyCanType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, items(2))
		close(l.heard)
		l.want(t, "entry-1", "", 0)
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, items(2), "ttyS0")
		l.cancel()
		<-l.done
		if !errors.Is(l.err, context.Canceled) || l.name != "" {
			t.Errorf("%q, %v", l.name, l.err)
		}
		if _, _, err := Choose(t.Context(), console.New(), Menu{Time: time.Hour}); !errors.Is(err, ErrEmpty) {
			t.Errorf("no items: %v", err)
		}
	})
}

// Every page fits into 24 lines of 80 columns, the cursor's line and a second
// half a minute of countdown included, and shows nothing but printable ASCII.
func TestPages(t *testing.T) {
	for _, n := range []int{1, 16, 17, 256} {
		m := items(n)
		m.Title = strings.Repeat("A title as long as they come. ", 4)
		for i := range m.Items {
			m.Items[i].Title = strings.Repeat("w", 64)
			m.Items[i].Name = strings.Repeat("n", 60) + fmt.Sprint(i)
		}
		m.Items[0].Title = "\x1b[2J\u202e\r\nowned \xff"
		d := newDialog(m)
		pages := (n + pageItems - 1) / pageItems
		var labels []string
		for p := range pages {
			lines := d.turn(0, &typist{page: p})
			if len(lines) > 24-1-3 {
				t.Errorf("page %d of %d items has %d lines", p+1, n, len(lines))
			}
			for _, line := range lines {
				if len(line) > 79 || line != console.Clean(line) || line == "" {
					t.Errorf("%q does not fit", line)
				}
				if f := strings.Fields(line); strings.HasPrefix(line, "  ") {
					labels = append(labels, f[0])
				}
			}
		}
		if !slices.Equal(labels, d.labels) {
			t.Errorf("%d items: the pages list %q", n, labels)
		}
	}
}
