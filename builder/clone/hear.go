package clone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/builder/power"
	"github.com/farboot/farboot/builder/reports"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// hear takes what a machine said last, if that is new.
func (r *run) hear(ctx context.Context, i int, m *Machine, said *reports.Machine) {
	if m.ended() || m.Stage == Ending || said.Report.Boot == m.before || !said.Received.After(m.report) {
		return
	}
	m.heard, m.report = time.Now(), said.Received
	x := said.Report
	work := lastFlash(x.Works)
	switch {
	case work == nil && (x.Outcome == report.HandingOver || x.Outcome == report.Failed):
		r.fail(m, fmt.Errorf("%w: it starts %q, which writes no disk%s", ErrNotWritten, x.Entry, trouble(x)))
	case work == nil:
		m.Stage, m.Text = Booting, string(x.Outcome)+trouble(x)
	case work.Flashed():
		r.written(ctx, i, m, x, work)
	case x.Outcome == report.Working:
		m.Stage, m.Text = Writing, work.Status
	case x.Outcome == report.Waiting: // for another round
		m.Stage, m.Text = Writing, "waiting to try again: "+work.Status
	default:
		r.fail(m, fmt.Errorf("%w: %s", ErrNotWritten, work.Status))
	}
}

// written takes what a machine said that has the image.
func (r *run) written(ctx context.Context, i int, m *Machine, x report.Report, work *report.Work) {
	m.Stage, m.Text = Written, work.Status
	then := r.Then(work.Entry)
	switch {
	case x.Outcome == report.Failed:
		r.fail(m, fmt.Errorf("%w%s", ErrNotStarted, trouble(x)))
	case x.Outcome == report.Rebooting && then == manifest.ThenOff:
		r.ending(i, m, func() error { return r.fromOff(ctx, m.Target) })
	case x.Outcome == report.Done && then == manifest.ThenWait:
		r.ending(i, m, func() error { return r.again(ctx, m.Target) })
	case x.Outcome == report.HandingOver, x.Outcome == report.Rebooting:
		r.done(m, work.Status)
	}
}

// ending starts a machine into the result, beside everything else.
func (r *run) ending(i int, m *Machine, start func() error) {
	text := m.Text
	m.Stage = Ending
	r.ends.Go(func() {
		err := start()
		r.set(i, func(m *Machine) {
			if err != nil {
				r.fail(m, fmt.Errorf("%w: %w", ErrNotStarted, err))
			} else {
				r.done(m, text)
			}
		})
	})
}

// again resets a machine into what is on its disk.
func (r *run) again(ctx context.Context, t power.Target) error {
	if err := t.Driver.BootNext(ctx, power.Disk); err != nil && !errors.Is(err, power.ErrUnsupported) {
		return err
	}
	return t.Driver.Do(ctx, power.Reset)
}

// fromOff waits until a machine that goes off is off, and switches it on.
func (r *run) fromOff(ctx context.Context, t power.Target) error {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Off)
	defer cancel()
	for {
		state, err := t.Driver.State(ctx)
		if err != nil {
			return err
		}
		if state == power.IsOff {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not off: %w", ctx.Err())
		case <-time.After(r.Limits.Poll):
		}
	}
	if err := t.Driver.BootNext(ctx, power.Disk); err != nil && !errors.Is(err, power.ErrUnsupported) {
		return err
	}
	return t.Driver.Do(ctx, power.On)
}

// lastFlash returns the last writing of a disk, or nil.
func lastFlash(works []report.Work) *report.Work {
	for i := len(works) - 1; i >= 0; i-- {
		if works[i].Kind == "flash" {
			return &works[i]
		}
	}
	return nil
}

// trouble says what a report tells of a failure.
func trouble(x report.Report) string {
	if x.Code == "" {
		return ""
	}
	return fmt.Sprintf(" (%s: %s)", x.Code, x.Text)
}
