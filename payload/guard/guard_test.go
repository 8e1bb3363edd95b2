package guard

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
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
	crash, ok := errors.AsType[*Crash](fmt.Errorf("wrapped: %w", err))
	if !ok || !strings.Contains(strings.Join(crash.Trace(), "|"), "guard.explode") {
		t.Errorf("trace %q", crash.Trace())
	}
	for _, line := range crash.Trace() {
		if strings.ContainsAny(line, "\n\t") {
			t.Errorf("line %q", line)
		}
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
			heard := 0
			done := func(err error) {
				if heard++; !errors.Is(err, ErrCrashed) {
					t.Errorf("%s: done(%v)", name, err)
				}
			}
			Go("a", f, done)
			synctest.Wait()
			AfterFunc(time.Hour, "a", f, done)
			AfterFunc(time.Hour, "a", f, done).Stop()
			synctest.Wait()
			if heard != 1 {
				t.Errorf("%s: done was called %d times, want once so far", name, heard)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if heard != 2 {
				t.Errorf("%s: done was called %d times, want once each", name, heard)
			}
		})
	}
}
