//go:build boot

package boottest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/manifest"
)

// bin holds the commands under test, freshly built.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "farboot-boottest")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		for name, pkg := range map[string]string{
			"farboot": "../cmd/farboot", "farboot-agent": "../../payload/agent", "farboot-vmagent": "../../payload/vmagent", "marker": "./marker",
		} {
			cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", inlining(name), "-o", filepath.Join(dir, name), pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1", "GOFLAGS=-trimpath", "GOEXPERIMENT=")
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n%s", pkg, err, out)
				return 1
			}
		}
		bin = dir
		return m.Run()
	}())
}

// inlining is the Makefile's flag for the agent, which makes it smaller.
func inlining(name string) string {
	if name == "farboot-agent" {
		return "-gcflags=all=-l"
	}
	return "-gcflags="
}

// Machines of the test site: one for the Debian installer, all others get the
// marker.
const installerMAC = "52:54:00:00:00:01"

// medium and site are the recipes of a world; %s is the site's URL.
const (
	mediumRecipe = `kind: medium
name: netboot
kernel: {deb: linux-image-amd64, modules: [net]}
trust: keys
site: ["%s"]
console: [tty0, "ttyS0,115200"]
cmdline: no_timer_check
timeout: 0
`
	siteRecipe = `kind: site
entries:
  marker:
    title: A small system that says hello
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{file: marker.img}, {file: second.img}]
      cmdline: ` + markerCmdline + `
  installer:
    title: Debian 12 installer
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/initrd.gz}]
      cmdline: ` + installerCmdline + `
machines:
  - {match: {mac: "` + installerMAC + `"}, boot: [installer]}
default: [marker]
`
	installerDir = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
	// The command lines of the manifest have to reach the next kernels to the
	// letter; markerRuns is what the marker prints of it, and not the agent. Without
	// no_timer_check a kernel that gets no processor for a moment, at its very start,
	// calls the emulator's timer broken and panics: one boot in a thousand here.
	markerCmdline    = `console=ttyS0,115200 quiet no_timer_check farboot.marker="two words" farboot.end`
	installerCmdline = `console=ttyS0,115200 priority=low no_timer_check farboot.marker="two words" farboot.end`
	markerRuns       = "next kernel runs: " + markerCmdline
)

// world is an operator's project with a published site and a server for it.
type world struct {
	dir  string
	url  string   // as guests reach it
	site string   // the published folder
	env  []string // added to the command's environment

	server *http.Server // the last that listens
	// handler is what the server answers with, for tests that lie.
	handler atomic.Pointer[http.Handler]
}

// newWorld makes keys, publishes the site and serves it.
func newWorld(t *testing.T) *world {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: t.TempDir(), url: fmt.Sprintf("http://10.0.2.2:%d/", ln.Addr().(*net.TCPAddr).Port)}
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe, w.url))
	w.write(t, "recipes/site.yaml", []byte(siteRecipe))
	w.write(t, "marker.img", pack(t, initramfs.Zstd, "init", filepath.Join(bin, "marker")))
	w.write(t, "second.img", pack(t, initramfs.None, "second", "doc.go"))
	w.farboot(t, "keys", "init", "--secrets", w.secrets(t))
	w.farboot(t, "publish", "recipes/site.yaml", "--secrets", w.secrets(t))
	w.site = filepath.Join(w.dir, "out", "site")
	w.answer(site.Handler(w.site, nil))
	w.listen(t, ln)
	return w
}

// listen serves the world's site on ln.
func (w *world) listen(t *testing.T, ln net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		(*w.handler.Load()).ServeHTTP(rw, r)
	})}
	go server.Serve(ln) //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
	w.server = server
}

// answer makes the server answer with h.
func (w *world) answer(h http.Handler) { w.handler.Store(&h) }

// secrets is where the world's secret keys are: not in its project.
func (w *world) secrets(t *testing.T) string {
	t.Helper()
	return w.dir + "-secret"
}

// build builds the medium and returns image and netboot folder.
func (w *world) build(t *testing.T) (image, netboot string) {
	t.Helper()
	w.farboot(t, "build", "recipes/netboot.yaml")
	return filepath.Join(w.dir, "out", "netboot.iso"), filepath.Join(w.dir, "out", "netboot")
}

// buildFor builds a medium for other sites than the world's own.
func (w *world) buildFor(t *testing.T, sites ...string) (image string) {
	t.Helper()
	recipe := fmt.Sprintf(mediumRecipe, strings.Join(sites, `", "`))
	w.write(t, "recipes/netboot.yaml", []byte(recipe))
	image, _ = w.build(t)
	return image
}

// What a medium carries, and prints.
const (
	fallbackCmdline = "console=ttyS0,115200 quiet no_timer_check farboot.fallback"
	fallbackRuns    = "next kernel runs: " + fallbackCmdline
)

// fallback is the part of a medium's recipe that gives it an entry of its own. The
// kernel is the site's with a byte more, which changes nothing but its hash: what
// the medium has would not be fetched.
func (w *world) fallback(t *testing.T) string {
	t.Helper()
	kernel, err := os.ReadFile(filepath.Join(w.site, w.linux(t, "marker").Kernel.Path()))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "fallback.vmlinuz", append(kernel, 0))
	return fmt.Sprintf(`fallback:
  - {title: Carried, linux: {kernel: {file: fallback.vmlinuz}, initrd: [{file: marker.img}], cmdline: "%s"}}
`, fallbackCmdline)
}

// linux returns what the published manifest says of an entry.
func (w *world) linux(t *testing.T, entry string) *manifest.Linux {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.site, manifest.File))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m.Entries[entry].Linux
}

// farboot runs the command in the project.
func (w *world) farboot(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "farboot"), args...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), w.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("farboot %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String()
}

// write writes a file of the project.
func (w *world) write(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// pack returns an initrd with one program.
func pack(t *testing.T, how initramfs.Compression, name, source string) []byte {
	t.Helper()
	f, err := tree.OnDisk(name, source)
	if err != nil {
		t.Fatal(err)
	}
	f.Mode = 0o755
	var out bytes.Buffer
	files := append(initramfs.FromTree(f), initramfs.Dir("proc", 0o755))
	if err := initramfs.Pack(&out, initramfs.Layer{Files: files}, how); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// patience is how long a machine may take for everything, in emulation on a
// busy computer with two cores.
const patience = 10 * time.Minute

// start starts a machine whose console ends up in the test's log if it fails.
func start(t *testing.T, c vm.Config) (*vm.VM, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	m, err := vm.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m, ctx
}

// expect waits for phrases in their order.
func expect(t *testing.T, ctx context.Context, m *vm.VM, phrases ...string) {
	t.Helper()
	for _, p := range phrases {
		begin := time.Now()
		if _, err := m.Expect(ctx, p); err != nil {
			t.Fatal(err)
		}
		t.Logf("%6.1f s  %s", time.Since(begin).Seconds(), p)
	}
}

// link plugs in or pulls one end of a cable, by QEMU's id of the end.
func link(t *testing.T, ctx context.Context, m *vm.VM, id string, up bool) {
	t.Helper()
	if err := m.Execute(ctx, "set_link", map[string]any{"name": id, "up": up}, nil); err != nil {
		t.Fatal(err)
	}
}
