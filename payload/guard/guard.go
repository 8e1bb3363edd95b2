// Package guard keeps a panic in one part of a program from ending the whole of
// it. In PID 1 that is the machine: Go ends a process for a panic in any of its
// goroutines, and no recover in another one helps.
//
// [Go] starts a goroutine, [AfterFunc] a timer, [Call] calls in place. Each hands
// on what became of the function, and a panic is an error like any other: a
// [*Crash], which is [ErrCrashed]. The agent and what it is made of starts
// goroutines by this package only, and a test of payload/agent holds that.
//
// What the runtime gives up for is not caught, and ends PID 1 all the same: no
// memory, a map that is written twice at once, a stack beyond its limit. The
// kernel then reboots. Neither are goroutines of other people's packages.
package guard

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// ErrCrashed says that the program itself is at fault.
var ErrCrashed = errors.New("the agent crashed")

// Crash is a panic that was caught. It is [ErrCrashed], and where the panic's
// value is an error, that as well.
type Crash struct {
	Where string // what was being done
	Value any    // of the panic
	stack []byte
}

// Error is one line.
func (c *Crash) Error() string { return fmt.Sprintf("%v (%s): %v", ErrCrashed, c.Where, c.Value) }

// Unwrap returns what the crash is.
func (c *Crash) Unwrap() []error {
	if err, ok := c.Value.(error); ok {
		return []error{ErrCrashed, err}
	}
	return []error{ErrCrashed}
}

// Tell prints a crash and where it came from, line by line. It prints nothing
// where err is none.
func Tell(err error, log func(format string, args ...any)) {
	crash, ok := errors.AsType[*Crash](err)
	if !ok {
		return
	}
	log("%v", crash)
	for line := range strings.Lines(string(crash.stack)) {
		log("%s", strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    "))
	}
}

// errEnded is the value of a function that neither returned nor panicked.
var errEnded = errors.New("it ended its goroutine")

// Call calls f and returns its error, or its panic as one. where names for people
// what f does: "probing the mirrors".
func Call(where string, f func() error) (err error) {
	ended := false
	defer func() {
		value := recover()
		if value == nil && !ended {
			value = errEnded // by runtime.Goexit
		}
		if value != nil {
			err = &Crash{Where: where, Value: value, stack: debug.Stack()}
		}
	}()
	err = f()
	ended = true
	return err
}

// Go calls f in a goroutine of its own, as [Call] does, and then done with what
// came of it. done is the only part that is not guarded: it sends, logs or counts,
// and nothing else.
func Go(where string, f func() error, done func(error)) {
	go finish(where, f, done)
}

// AfterFunc is [time.AfterFunc] of what [Go] does.
func AfterFunc(d time.Duration, where string, f func() error, done func(error)) *time.Timer {
	return time.AfterFunc(d, func() { finish(where, f, done) })
}

// finish calls f and then done, even where f ends the goroutine.
func finish(where string, f func() error, done func(error)) {
	var err error = &Crash{Where: where, Value: errEnded}
	defer func() { done(err) }()
	err = Call(where, f)
}
