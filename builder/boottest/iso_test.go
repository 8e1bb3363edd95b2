//go:build boot && long

package boottest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/liveiso"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// isoSite is a site with a live ISO. The command line is the one of the ISO's own menu,
// made to fit, but for the console, and for what guards against Meltdown: with it each
// call of the kernel has an emulator forget what it has translated.
const isoSite = `kind: site
images:
  live: {file: live.iso}
entries:
  live:
    title: A live system from the web
    iso:
      image: live
      append: console=ttyS0,115200 systemd.show_status=true mitigations=off
      options: {hostname: reading-room}
      memory: 768
default: [live]
`

// meter counts what a site is asked for.
type meter struct {
	requests, bytes atomic.Int64
}

// count serves h and counts the bodies of its answers.
func (c *meter) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		h.ServeHTTP(&countedWriter{rw, &c.bytes}, r)
	})
}

// countedWriter counts what is written.
type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

// Write implements io.Writer.
func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// isoWorld is a world whose site has a live ISO.
type isoWorld struct {
	*world
	meter
}

// newISOWorld publishes the ISO.
func newISOWorld(t *testing.T, iso string) *isoWorld {
	t.Helper()
	w := &isoWorld{world: newWorld(t)}
	if err := os.Link(iso, filepath.Join(w.dir, "live.iso")); err != nil {
		t.Fatal(err)
	}
	w.publishes(t, isoSite)
	w.answer(w.count(site.Handler(w.site, nil)))
	return w
}

// boots boots a machine from the web to a login, tells what that took, has the live
// system look at itself and switches it off.
func (w *isoWorld) boots(t *testing.T, c vm.Config) *vm.VM {
	t.Helper()
	return w.runs(t, c, "farboot: medium", "preflight: kernel", "handing over: live", "Welcome to")
}

// runs is boots of a machine that shows certain phrases first.
func (w *isoWorld) runs(t *testing.T, c vm.Config, phrases ...string) *vm.VM {
	t.Helper()
	began, requests, bytes := time.Now(), w.requests.Load(), w.bytes.Load()
	m, ctx := start(t, c)
	expect(t, ctx, m, append(phrases, "reading-room login:")...)
	t.Logf("login after %.1f s: %d requests, %.1f MB", time.Since(began).Seconds(), w.requests.Load()-requests, float64(w.bytes.Load()-bytes)/1e6)
	login(t, ctx, m)
	for _, command := range []string{
		"! grep farboot /proc/cmdline",
		"test ! -e /farboot",
		"grep -E '^/dev/(loop0|nbd0) /run/live/medium iso9660 ro' /proc/mounts",
		"grep -a '^@farboot' /proc/[0-9]*/cmdline",
	} {
		ask(t, ctx, m, command)
	}
	switchOff(t, ctx, m)
	return m
}

// login logs in at the console of the live system.
func login(t *testing.T, ctx context.Context, m *vm.VM) {
	t.Helper()
	typed(t, m, "root")
	expect(t, ctx, m, "Password:")
	typed(t, m, "live")
	expect(t, ctx, m, "root@reading-room:")
}

// typed types a line.
func typed(t *testing.T, m *vm.VM, line string) {
	t.Helper()
	if err := m.Type(line + "\r"); err != nil {
		t.Fatal(err)
	}
}

// ask has the live system run a command, which shall end well.
func ask(t *testing.T, ctx context.Context, m *vm.VM, command string) {
	t.Helper()
	mark := fmt.Sprintf("%d", time.Now().UnixNano())
	// The mark is not in what is typed, which the console shows as well.
	typed(t, m, fmt.Sprintf("( %s ) && echo live-''ok-%s || echo live-''bad-%s", command, mark, mark))
	said, err := m.Expect(ctx, "live-ok-"+mark, "live-bad-"+mark)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(said, "live-bad") {
		t.Errorf("the live system: %s failed", command)
	}
}

// switchOff switches the live system off by its own means, which must not hang.
func switchOff(t *testing.T, ctx context.Context, m *vm.VM) {
	t.Helper()
	typed(t, m, "poweroff")
	expect(t, ctx, m, "Power down")
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
}

// TestISO: a live ISO of Debian's packages, as its makers would have it, boots from a
// web server to a login, in 768 MB. The system reads its programs from there, sees
// nothing of the agent but a process and a device, and switches the machine off.
func TestISO(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	image, _ := w.build(t)
	w.boots(t, vm.Config{Image: image, Memory: 768})
}
