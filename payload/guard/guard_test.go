package guard

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// explode is what the trace has to name.
func explode(v any) error { panic(v) }

func TestCall(t *testing.T) {
	if err := Call("a", func() error { return nil }); err != nil {
		t.Errorf("no panic: %v", err)
	}
	if err := Call("a", func() error { return io.EOF }); err != io.EOF {
		t.Errorf("an error: %v, want it as it is", err)
	}
	err := Call("reading", func() error { return explode("index out of range") })
	if !errors.Is(err, ErrCrashed) || err.Error() != "the agent crashed (reading): index out of range" {
		t.Errorf("a panic: %v", err)
	}
	var lines []string
	log := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	Tell(io.EOF, log)
	if Tell(nil, log); len(lines) > 0 {
		t.Errorf("told %q of no crash", lines)
	}
	Tell(fmt.Errorf("wrapped: %w", err), log)
	if all := strings.Join(lines, "|"); lines[0] != err.Error() || !strings.Contains(all, "guard.explode") || strings.ContainsAny(all, "\n\t") {
		t.Errorf("told %q", lines)
	}
	if err := Call("a", func() error { return explode(io.ErrUnexpectedEOF) }); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, ErrCrashed) {
		t.Errorf("a panic with an error: %v", err)
	}
	if err := Call("a", func() error { var m map[string]int; m["a"]++; return nil }); !errors.Is(err, ErrCrashed) {
		t.Errorf("a run-time panic: %v", err)
	}
	if err := Call("a", func() error { return explode(nil) }); !errors.Is(err, ErrCrashed) {
		t.Errorf("panic(nil): %v", err)
	}
}

// Whatever f does, done hears of it, once.
func TestGo(t *testing.T) {
	for name, f := range map[string]func() error{
		"panic":   func() error { return explode("boom") },
		"Goexit":  func() error { runtime.Goexit(); return nil },
		"nothing": func() error { return ErrCrashed },
	} {
		synctest.Test(t, func(t *testing.T) {
			var heard atomic.Int32
			done := func(err error) {
				if heard.Add(1); !errors.Is(err, ErrCrashed) {
					t.Errorf("%s: done(%v)", name, err)
				}
			}
			Go("a", f, done)
			synctest.Wait()
			AfterFunc(time.Hour, "a", f, done)
			AfterFunc(time.Hour, "a", f, done).Stop()
			synctest.Wait()
			if n := heard.Load(); n != 1 {
				t.Errorf("%s: done was called %d times, want once so far", name, n)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := heard.Load(); n != 2 {
				t.Errorf("%s: done was called %d times, want once each", name, n)
			}
		})
	}
}
