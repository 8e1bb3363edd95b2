package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/apt"
)

// How farboot talks:
//
//   - An error is one line, "farboot: error: " and then lower case, the thing
//     that is wrong first, values quoted. A recipe's error starts with
//     file:line instead, so that editors jump there.
//   - Where farboot knows a way out, a line "farboot: hint: " follows.
//   - Results go to stdout, all else to stderr. With --json stdout is one JSON
//     value.
//   - Exit status 0 is done, 1 failed, 2 means that the command line or a
//     recipe has to be changed first, 3 that signatures by others are missing,
//     130 that it was interrupted. Only with 3 is there a result as well: what
//     waits for whom. "vm run" has the command's, and 125 where there is none.

// Exit statuses.
const (
	exitFailed      = 1
	exitInput       = 2
	exitPending     = 3
	exitInterrupted = 130
)

// exitCode maps an error to the exit status.
func exitCode(err error) int {
	var usage *usageError
	var mistake *recipe.Error
	var status *exitStatus
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &mistake):
		return exitInput
	case errors.Is(err, keys.ErrPending):
		return exitPending
	case errors.As(err, &status):
		return status.code
	}
	return exitFailed
}

// complain prints an error and what to do about it.
func complain(w io.Writer, err error) {
	var mistake *recipe.Error
	var status *exitStatus
	if errors.As(err, &status) && status.err == nil {
		return
	}
	if errors.As(err, &mistake) {
		fmt.Fprintf(w, "%v\n", err)
	} else {
		fmt.Fprintf(w, "farboot: error: %v\n", err)
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(w, "farboot: hint: %s\n", hint)
	}
}

// hinted is an error that knows its own way out.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// withHint adds a way out to err.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// hintFor returns the way out that belongs to err, or "".
func hintFor(err error) string {
	var own *hinted
	var mistake *recipe.Error
	var usage *usageError
	var input *source.Error
	switch {
	case errors.As(err, &own):
		return own.hint
	case errors.As(err, &input) && input.Hint != "":
		return input.Hint
	case errors.As(err, &mistake):
		return mistake.Hint
	case errors.As(err, &usage):
		return fmt.Sprintf("%q tells more", usage.command+" --help")
	case errors.Is(err, keys.ErrMissing):
		return `"farboot keys init" makes the keys`
	case errors.Is(err, apt.ErrNoSource):
		return `name "mirror" and "keyring" under "apt:" in the recipe`
	case errors.Is(err, apt.ErrStale):
		return `try again later, check this machine's clock, or name another "mirror" under "apt:" in the recipe`
	case errors.Is(err, leak.ErrSecret):
		return "a secret key must not leave this desk; remove the file, or name the public part"
	case errors.Is(err, lock.ErrStale), errors.Is(err, lock.ErrEdited), errors.Is(err, lock.ErrMissing):
		return `"farboot lock --update RECIPE" renews the lock`
	}
	return ""
}

// printJSON writes one value to stdout, for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table writes rows of two columns, the first padded.
func table(w io.Writer, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s  %s", width, r[0], r[1]), " "))
	}
}

// bytesText prints a size for people: 1.0 kB is 1000 bytes.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}
