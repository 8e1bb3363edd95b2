package flash

import (
	"sync"
	"time"
)

// Progress is how far a stage is.
type Progress struct {
	// Stage is "download", "compare", "write", "verify" or "finish".
	Stage string
	// Done and Total count bytes of the image. Total is 0 for the short stages
	// "download", which is the image's first MiB, and "finish".
	Done, Total int64
	// Rate is in bytes/s, since the stage began; 0 is not known yet.
	Rate int64
}

// meter tells how far a stage is.
type meter struct {
	tell func(Progress)

	mu             sync.Mutex
	now            Progress
	skipped        int64 // what was done before the stage began
	started, spoke time.Time
}

// begin begins a stage.
func (m *meter) begin(stage string, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.skipped = Progress{Stage: stage, Total: total}, 0
	m.started, m.spoke = time.Now(), time.Time{}
	m.report()
}

// start says that a part of the stage is done already, which counts for no rate.
func (m *meter) start(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done, m.skipped = n, n
}

// add says that n more bytes are done.
func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done += n
	m.report()
}

// report tells it, where a second is over or the stage.
func (m *meter) report() {
	now := time.Now()
	if m.tell == nil || now.Sub(m.spoke) < time.Second && m.now.Done != m.now.Total {
		return
	}
	m.spoke = now
	if d := now.Sub(m.started); d > time.Millisecond {
		m.now.Rate = int64(float64(m.now.Done-m.skipped) / d.Seconds())
	}
	m.tell(m.now)
}
