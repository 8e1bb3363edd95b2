package carried

import (
	"sync"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

// apart is the time between two calls that a gate lets pass.
const apart = time.Minute

// gate lets pass one call in a minute, in the background. The kernel asks for what
// it could not read again and again.
type gate struct {
	mu   sync.Mutex
	last time.Time
}

// pass calls f, or does nothing.
func (g *gate) pass(what string, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() && time.Since(g.last) < apart {
		return
	}
	g.last = time.Now()
	guard.Go(what, func() error { f(); return nil }, func(error) {})
}
