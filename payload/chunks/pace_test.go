package chunks

import (
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// A tree, in which each chunk is a request of its own, is read as fast as a file where
// latency is all that counts.
func TestReaderPace(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	for name, img := range map[string]Image{"zst": l.zst, "castr": l.tree} {
		bubble(t, func(t *testing.T, w *world) {
			w.site(l.handler(), evil.Late(100*time.Millisecond))
			c := w.config(nil)
			c.Limits.Memory = 32 * chunkSize // as the default is for chunks of 1 MiB
			r, start := w.open(img, c), time.Now()
			readAll(t, r, l.data, 1000)
			t.Log(name, time.Since(start))
			if took := time.Since(start); took > 1500*time.Millisecond {
				t.Errorf("%s: took %s", name, took)
			}
		})
	}
}
