package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// errLeft says that a mirror was left for a better one, which is no failure.
var errLeft = errors.New("left for another mirror")

// job is one object on its way from several mirrors.
type job struct {
	*Mirrors
	download download
	failed   *Error
	size     int64
	left     func() int64 // how many bytes are missing

	// Mirrors.mu guards what follows.
	tries map[*mirror]*try
	alone bool    // bytes of different mirrors are not mixed any more
	last  *mirror // whose bytes come or came last
	next  *mirror // for which the last was left, or nil
}

// try is what one mirror has done for one object.
type try struct {
	barren int  // failures in a row that brought nothing new
	out    bool // it is not asked again
	had    bool // it has had its turn
}

// Object fetches one object from whichever sites do best, see [Mirrors]. The
// rest is as with [Client.Object].
func (m *Mirrors) Object(ctx context.Context, ref object.Ref, dst io.WriterAt, progress func(done int64)) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	j := &job{
		Mirrors: m, tries: map[*mirror]*try{},
		download: download{ref: ref, dst: dst, progress: progress, giveUp: giveUp},
		failed:   &Error{Object: ref.SHA256.String()},
		size:     ref.Size,
	}
	j.left = func() int64 { return ref.Size - j.download.verifier.Written() }
	if j.download.resume(ref.Size) {
		return nil
	}
	j.mu.Lock()
	j.alone = m.alone
	j.mu.Unlock()
	for {
		mir, rest := j.pick()
		switch {
		case mir == nil && len(j.failed.Attempts) == 0:
			return fmt.Errorf("object %s: %w: there is no mirror to fetch it from", ref.SHA256, ErrNotFound)
		case mir == nil:
			return j.failed
		case rest > 0:
			sleep(ctx, rest)
		default:
			before := j.download.furthest
			err := j.ask(ctx, mir)
			if j.settle(ctx, mir, j.download.furthest-before, err) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("object %s: %w", ref.SHA256, context.Cause(ctx))
		}
	}
}

// pick returns the mirror to ask now, or the one that will be the first to have
// rested and for how long it still rests. It returns nil where all are out.
func (j *job) pick() (*mirror, time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	best := j.next
	if j.next = nil; best == nil && j.alone {
		best = j.last
	}
	if best == nil || j.try(best).out {
		ranked := j.ranked()
		i := slices.IndexFunc(ranked, func(mir *mirror) bool { return !j.try(mir).out })
		if i < 0 {
			return nil, 0
		}
		best = ranked[i]
	}
	return best, time.Until(best.rests)
}

// try returns what a mirror has done so far.
func (j *job) try(mir *mirror) *try {
	if j.tries[mir] == nil {
		j.tries[mir] = new(try)
	}
	return j.tries[mir]
}

// ask sends one request for what is missing to a mirror.
func (j *job) ask(ctx context.Context, mir *mirror) error {
	d := &j.download
	if mir != j.last {
		d.validator = "" // each server has its own
		if j.alone {
			d.startOver()
		}
	}
	j.mu.Lock()
	j.last, j.try(mir).had = mir, true
	j.mu.Unlock()
	d.source = mir.site
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	w := &watch{job: j, mirror: mir, leave: leave}
	w.start()
	defer w.end()
	return j.client.get(ctx, join(mir.site, d.ref.Path()), d.header(), func(resp *http.Response) error {
		w.stop()
		w.ReadCloser, resp.Body = resp.Body, w
		return d.take(resp)
	})
}

// settle draws the conclusions from a request that brought so many new bytes. It
// tells whether the object is complete.
func (j *job) settle(ctx context.Context, mir *mirror, gained int64, err error) (done bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	try := j.try(mir)
	if err == nil || gained >= j.client.limits.Progress {
		mir.well()
		try.barren = 0
	}
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	if errors.Is(err, errLeft) {
		mir.slow = true
		j.log("mirror %s: %s", display(mir.site), shown{err})
		return false
	}
	j.failed.add(display(join(mir.site, j.download.ref.Path())), err)
	switch {
	case errors.Is(err, errStitched):
		j.separate()
		j.log("object %s: %s; starting over with one mirror", j.download.ref.SHA256, errStitched)
	case errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrPortal):
		try.out, j.alone = true, false
		j.condemn(mir, err)
		if slices.Contains(j.download.sources, mir.site) {
			j.download.startOver()
		}
	case errors.Is(err, ErrUnreachable):
		try.barren++
		try.out = try.barren >= j.client.limits.Attempts
		j.fail(mir, err)
		if j.alone {
			j.next = j.unasked()
		}
	default:
		try.out = true
		if !errors.Is(err, ErrNotFound) {
			j.fail(mir, err)
		}
	}
	return false
}

// separate gives up mixing: here and, until a culprit is found, elsewhere.
func (j *job) separate() {
	j.Mirrors.alone, j.alone, j.last = true, true, nil
	for _, try := range j.tries {
		try.had = false
	}
}

// unasked finds a mirror without failures that has not had its turn yet. Without
// it, one that cuts the object in a thousand pieces would keep the others out.
func (j *job) unasked() *mirror {
	for _, mir := range j.ranked() {
		if mir.failures == 0 && !j.try(mir).had && j.usable(mir) {
			return mir
		}
	}
	return nil
}

// better finds a mirror to leave the present one for, which brings rate bytes/s.
func (j *job) better(present *mirror, rate int64) *mirror {
	again := j.left() // what another would have to bring
	takes := seconds(again, rate)
	if j.alone {
		again = j.size
	}
	for _, mir := range j.ranked() {
		switch {
		case mir == present || !j.usable(mir):
		case mir.rate > 0 && 2*seconds(again, mir.rate) < takes:
			return mir
		case mir.rate == 0 && mir.failures == 0 && !j.try(mir).had && takes >= 10*j.client.limits.Trial.Seconds():
			return mir
		}
	}
	return nil
}

// usable tells whether a mirror may be left another for.
func (j *job) usable(mir *mirror) bool {
	return !mir.condemned && !j.try(mir).out && time.Now().After(mir.rests)
}

// seconds returns how long n bytes take.
func seconds(n, rate int64) float64 { return float64(n) / float64(max(rate, 1)) }
