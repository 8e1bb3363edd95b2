package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress tells how far long work has come: by a bar on a terminal, by plain
// lines elsewhere, so that a log of CI stays readable.
type progress struct {
	out io.Writer
	bar *progressbar.ProgressBar // nil where out is no terminal

	mu    sync.Mutex
	parts map[string]part
}

// part is one of several things under way.
type part struct{ done, total int64 }

// newProgress returns a progress that writes to out.
func newProgress(out io.Writer) *progress {
	p := &progress{out: out, parts: map[string]part{}}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(out),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetDescription("fetching"),
		)
	}
	return p
}

// report says that done of total bytes of name are there. It may be called
// from several goroutines, and any number of times.
func (p *progress) report(name string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.parts[name]
	p.parts[name] = part{done, total}
	if p.bar == nil {
		if done == total && before.done != total {
			fmt.Fprintf(p.out, "fetched %s (%s)\n", name, bytesText(total))
		}
		return
	}
	var sum part
	for _, q := range p.parts {
		sum.done += q.done
		sum.total += q.total
	}
	p.bar.ChangeMax64(sum.total)
	p.bar.Set64(sum.done) //nolint:errcheck // a bar that cannot be drawn is no reason to fail
}

// step says what is being done now.
func (p *progress) step(format string, args ...any) {
	p.finish()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// warn tells what went wrong without stopping the work.
func (p *progress) warn(err error) { p.step("farboot: warning: %v", err) }

// finish takes the bar off the screen.
func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Clear() //nolint:errcheck // as above
	}
}

// count says how far one thing is that has no name, as a bar only.
func (p *progress) count(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	p.bar.ChangeMax64(total)
	p.bar.Set64(done) //nolint:errcheck // as above
}
