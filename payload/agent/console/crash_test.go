package console

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// moody is a console that breaks the program with one line.
type moody struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *moody) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Contains(string(p), "boom") {
		panic("boom")
	}
	return m.text.Write(p)
}

// A line that breaks the program is lost on that console, and said to be; no
// other line is, and nothing waits for it.
func TestPanicOnAConsole(t *testing.T) {
	bad, good := new(moody), new(moody)
	c := New(bad, &sink{good})
	for _, line := range []string{"one", "boom", "two"} {
		c.Printf("%s", line)
	}
	if !c.Flush(10 * time.Second) {
		t.Error("the consoles were not done in time")
	}
	if got := bad.text.String(); !strings.Contains(got, " one\n[ 1 lines were dropped: this console did not read ]\n") || !strings.HasSuffix(got, " two\n") {
		t.Errorf("the broken console shows %q", got)
	}
	if got := good.text.String(); strings.Count(got, "\n") != 3 {
		t.Errorf("the other console shows %q", got)
	}
}

// sink takes every line.
type sink struct{ *moody }

func (s *sink) Write(p []byte) (int, error) { return s.text.Write(p) }
