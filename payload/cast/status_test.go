package cast

import (
	"context"
	"testing"
	"time"
)

// The last report is sent again where it fails: without it the machine would pass for
// silent.
func TestLastReport(t *testing.T) {
	p := paint(t, 3)
	bubble(t, p, func(t *testing.T, w *world) {
		failed := 0
		m := w.machine(func(c *Config) {
			post := c.Post
			c.Post = func(ctx context.Context, url string, body []byte) error {
				if s, err := DecodeStatus(body); err == nil && s.Ended() && failed < 2 {
					failed++
					return errDisk
				}
				return post(ctx, url, body)
			}
		})
		m.start(all)
		m.word(Sending)
		for i := range p.Table {
			m.send(p.frames(i)...)
		}
		m.finish(t)
		if last := w.posts.all[len(w.posts.all)-1]; last.Stage != Done || failed != 2 {
			t.Errorf("after %d failures: %+v", failed, last)
		}
	})
}

// A machine reports to who sends, from the beginning to the end.
func TestReports(t *testing.T) {
	p := paint(t, 40)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		m.word(Waiting)
		time.Sleep(3 * time.Second)
		if len(w.posts.all) > 0 {
			t.Errorf("reported %+v before it knew", w.posts.all)
		}
		m.start(all)
		m.word(Waiting)
		time.Sleep(3 * time.Second)
		for i := 10; i < 40; i++ {
			m.send(p.frames(i)...)
		}
		m.word(Asking)
		time.Sleep(100 * time.Millisecond)
		w.posts.Lock()
		asked := w.posts.all[len(w.posts.all)-1]
		w.posts.Unlock()
		if asked.Missing != "0-9,40" || asked.Have != 30 || asked.Total != 41 || asked.Stage != Receiving {
			t.Errorf("reported %+v", asked)
		}
		m.word(Over)
		m.finish(t)
		last := w.posts.all[len(w.posts.all)-1]
		if last.Stage != Done || last.Have != 41 || !last.Ended() || len(w.posts.all) < 4 {
			t.Errorf("%d reports, the last %+v", len(w.posts.all), last)
		}
	})
}
