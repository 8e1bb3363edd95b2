package report

import (
	"errors"
	"slices"
	"strings"
)

// Bounds of what a report tells of scripts, rescues and flashes. All of it is at
// most half of MaxSize.
const (
	maxWorks  = 4   // the last ones
	maxOutput = 16  // lines of output, the last ones
	maxNotes  = 16  // the last ones
	maxLine   = 240 // of an output or a note, in bytes: three lines on a screen
)

// Work is an entry that does something on the machine in the place of handing it
// over.
type Work struct {
	Entry string `json:"entry"`
	Kind  string `json:"kind"` // "script", "rescue", "flash"
	// Status is how far it has come, or how it ended: "exit status 1", "host key
	// SHA256:...", "30 % written".
	Status string `json:"status,omitzero"`
	// Output is the end of what a script printed, and Notes is what it asked the
	// agent to report. Both are the script's own words.
	Output []string `json:"output,omitzero"`
	Notes  []string `json:"notes,omitzero"`
}

// What the Status of a flash that has ended well begins or ends with, by which
// [Work.Flashed] knows it.
const (
	LeftAlone = "left alone: " // the disk held the image already
	Kept      = " kept, in "   // "3.6 MB written, 0 bytes kept, in 4 s"
)

// Flashed tells whether the work was to write an image, and the disk has it.
func (w Work) Flashed() bool {
	return w.Kind == "flash" && (strings.HasPrefix(w.Status, LeftAlone) || strings.Contains(w.Status, " written, ") && strings.Contains(w.Status, Kept))
}

// Begin says that an entry of such a kind begins its work. It is the one that
// Status, Output and Note are about from now on.
func (r *Recorder) Begin(entry, kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Works = last(append(r.report.Works, Work{Entry: clean(entry, maxName), Kind: clean(kind, maxName)}), maxWorks)
}

// Status says how far the work has come, or how it ended.
func (r *Recorder) Status(text string) {
	r.work(func(w *Work) { w.Status = clean(text, maxText) })
}

// Output says what the work has printed, one line.
func (r *Recorder) Output(line string) {
	r.work(func(w *Work) { w.Output = last(append(w.Output, clean(line, maxLine)), maxOutput) })
}

// Note takes what the work wants the owner to know, one line.
func (r *Recorder) Note(text string) {
	r.work(func(w *Work) { w.Notes = last(append(w.Notes, clean(text, maxLine)), maxNotes) })
}

// work changes what is told of the present work, if there is one.
func (r *Recorder) work(change func(*Work)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.report.Works); n > 0 {
		change(&r.report.Works[n-1])
	}
}

// last returns the last n of all, in memory of their own.
func last[T any](all []T, n int) []T { return slices.Clone(all[max(0, len(all)-n):]) }

// cloneWorks copies works, so that they do not change any more.
func cloneWorks(all []Work) []Work {
	all = slices.Clone(all)
	for i := range all {
		all[i].Output, all[i].Notes = slices.Clone(all[i].Output), slices.Clone(all[i].Notes)
	}
	return all
}

// check tells what is wrong with a work.
func (w Work) check() error {
	if w.Entry == "" || w.Kind == "" || len(w.Output) > maxOutput || len(w.Notes) > maxNotes {
		return errors.New("work: want an entry, a kind, and no more lines than are kept")
	}
	for _, err := range []error{
		checkText("work", w.Entry, maxName), checkText("work", w.Kind, maxName), checkText("work", w.Status, maxText),
	} {
		if err != nil {
			return err
		}
	}
	for _, line := range slices.Concat(w.Output, w.Notes) {
		if err := checkText("work", line, maxLine); err != nil {
			return err
		}
	}
	return nil
}
