package fetch

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

// watch follows one request to one of several mirrors, and ends it where another
// mirror is the better choice. It is the answer's body. Only the time spent
// waiting for the server counts, not what the caller does between reads.
type watch struct {
	io.ReadCloser
	job    *job
	mirror *mirror
	leave  context.CancelCauseFunc

	timer  *time.Timer
	waited time.Duration // in the present span
	got    int64         // in the present span
}

// start begins to wait for the server.
func (w *watch) start() {
	silent := func() error { w.silent(); return nil }
	w.timer = guard.AfterFunc(w.job.client.limits.Trial, "watching a mirror", silent, w.job.crashed)
}

// stop ends the wait.
func (w *watch) stop() { w.timer.Stop() }

// silent leaves the mirror if there is another. It is asked only once for each
// wait: mirrors do not often recover within the few seconds that a wait can last.
func (w *watch) silent() {
	j := w.job
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, mir := range j.all {
		if mir != w.mirror && mir.failures == 0 && j.usable(mir) {
			w.leave(fmt.Errorf("silent for %s while there are other mirrors", j.client.limits.Trial))
			return
		}
	}
}

// Read implements io.Reader.
func (w *watch) Read(p []byte) (int, error) {
	w.start()
	start := time.Now()
	n, err := w.ReadCloser.Read(p)
	w.stop()
	w.waited += time.Since(start)
	w.got += int64(n)
	if err == nil && w.waited >= w.job.client.limits.Trial {
		err = w.judge()
	}
	return n, err
}

// judge measures the span that is over, begins another and tells, as an error,
// whether there is a better mirror.
func (w *watch) judge() error {
	j := w.job
	j.mu.Lock()
	defer j.mu.Unlock()
	rate := w.measure()
	if j.next = j.better(w.mirror, rate); j.next == nil {
		return nil
	}
	if j.next.rate == 0 {
		return fmt.Errorf("%w: %d bytes/s, and %s is not measured yet", errLeft, rate, display(j.next.site))
	}
	return fmt.Errorf("%w: %d bytes/s, where %s brought %d", errLeft, rate, display(j.next.site), j.next.rate)
}

// measure takes the rate of the present span for the mirror's.
func (w *watch) measure() int64 {
	rate := perSecond(w.got, w.waited)
	w.mirror.rate, w.mirror.measured = max(rate, 1), time.Now()
	w.got, w.waited = 0, 0
	return rate
}

// end measures what came in less than a span, if that is enough to tell.
func (w *watch) end() {
	w.stop()
	w.job.mu.Lock()
	defer w.job.mu.Unlock()
	if w.got >= w.job.client.limits.Progress && w.waited > 0 {
		w.measure()
	}
}
