package handover

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestQuiesce: steps come in order, and none keeps the machine from the jump.
func TestQuiesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said, done []string
		hang := make(chan struct{})
		step := func(name string, f func() error) Step {
			return Step{name, func() error { done = append(done, name); return f() }}
		}
		start := time.Now()
		Quiesce(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
			step("good", func() error { return nil }),
			step("bad", func() error { return errors.New("busy") }),
			step("crash", func() error { panic("oh") }),
			step("hang", func() error { <-hang; return nil }),
			step("last", func() error { return nil }),
		)
		if took := time.Since(start); took != patience {
			t.Errorf("took %s; want %s for the one that hangs", took, patience)
		}
		close(hang)
		if got := strings.Join(done, " "); got != "good bad crash hang last" {
			t.Errorf("done %q", got)
		}
		want := "hand over: bad: busy|hand over: crash: the agent crashed (handing over): oh|hand over: hang: no answer after 10 s"
		if got := strings.Join(said, "|"); got != want {
			t.Errorf("said %q; want %q", got, want)
		}
	})
}

// TestLoadTwice: a second load only where it may help, and after a pause.
func TestLoadTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		errs  []error // of each load
		loads int
	}{
		"at once":       {[]error{nil}, 1},
		"second":        {[]error{explain(unix.EBUSY, false), nil}, 2},
		"memory":        {[]error{explain(unix.ENOMEM, false), nil}, 2},
		"never":         {[]error{explain(unix.EADDRNOTAVAIL, false), explain(unix.EADDRNOTAVAIL, false)}, 2},
		"not signed":    {[]error{explain(unix.EKEYREJECTED, true)}, 1},
		"no kernel":     {[]error{explain(unix.ENOEXEC, false)}, 1},
		"not supported": {[]error{explain(unix.ENOSYS, false)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				loads, lines, start := 0, 0, time.Now()
				err := twice(func() error { loads++; return tc.errs[loads-1] }, func(string, ...any) { lines++ })
				if loads != tc.loads || lines != tc.loads-1 || time.Since(start) != time.Duration(lines)*secondLoad {
					t.Errorf("%d loads, %d lines, %s", loads, lines, time.Since(start))
				}
				if !errors.Is(err, tc.errs[tc.loads-1]) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
	unsealed := Kernel{Image: newMemory(t)}
	if err := LoadTwice(unsealed, fstest.MapFS{}, t.Errorf); !errors.Is(err, ErrRefused) {
		t.Errorf("unsealed: %v", err)
	}
}
