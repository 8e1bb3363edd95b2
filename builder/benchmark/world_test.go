//go:build bench

package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// world is a desk whose site is served, and whose medium asks there.
type world struct {
	*desk
	port    string
	objects []object.Ref // the installer's kernel and initrd
}

// newWorld publishes the demo site, serves it by "farboot serve" and builds the
// demo medium for it.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{desk: newDesk(t)}
	// The next kernel's first line is to come as soon as it runs.
	w.replace(siteRecipe, "priority=low", "priority=low earlyprintk=ttyS0,115200")
	w.publish()
	w.serve()
	w.replace(mediumRecipe, ":8080/", ":"+w.port+"/")
	w.build()
	var m manifest.Manifest
	data, err := os.ReadFile(w.path("out/site/manifest.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	l := m.Entries["installer"].Linux
	w.objects = append([]object.Ref{l.Kernel}, l.Initrd...)
	return w
}

// replace changes a file of the project.
func (d *desk) replace(name, old, by string) {
	d.t.Helper()
	data, err := os.ReadFile(d.path(name))
	if err != nil || !bytes.Contains(data, []byte(old)) {
		d.t.Fatalf("%s: no %q: %v", name, old, err)
	}
	d.write(name, bytes.ReplaceAll(data, []byte(old), []byte(by)))
}

// serve serves the published site until the test ends.
func (w *world) serve() {
	w.t.Helper()
	cmd := w.command("serve", "out/site", "--listen", "127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) //nolint:errcheck // it was killed
	r := bufio.NewReader(log)
	line, err := r.ReadString('\n')
	address := regexp.MustCompile(`http://127\.0\.0\.1:(\d+)/`).FindStringSubmatch(line)
	if address == nil {
		w.t.Fatalf("farboot serve says %q: %v", line, err)
	}
	w.port = address[1]
	go io.Copy(io.Discard, r) //nolint:errcheck // the log of requests
}

// urls returns where the objects are, for a client that calls the server host.
func (w *world) urls(host string) string {
	var urls []string
	for _, ref := range w.objects {
		urls = append(urls, "http://"+host+":"+w.port+"/"+ref.Path())
	}
	return strings.Join(urls, " ")
}

// bytes is the size of all objects.
func (w *world) bytes() (sum int64) {
	for _, ref := range w.objects {
		sum += ref.Size
	}
	return sum
}

// fetch returns a run of the agent's client on this computer.
func (w *world) fetch(t *testing.T) func() time.Duration {
	urls := strings.Fields(w.urls("127.0.0.1"))
	return func() time.Duration {
		t.Helper()
		client := fetch.New(fetch.DefaultLimits())
		defer client.Close()
		for i, ref := range w.objects {
			memory, err := handover.NewMemory("benchmark")
			if err != nil {
				t.Fatal(err)
			}
			dst, err := memory.Append(ref.Size)
			if err == nil {
				err = client.Object(context.Background(), urls[i:i+1], ref, dst, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			memory.Close()
		}
		return 0
	}
}

// plain is what the other /init took for all objects.
type plain struct{ http, curl time.Duration }

// bootPlain starts it once, with the medium's kernel and drivers.
func (w *world) bootPlain(t *testing.T, initrd string) (p plain) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, vm.Config{
		Kernel: w.path("out/netboot/boot/vmlinuz"), Initrd: initrd, Cmdline: "console=ttyS0,115200 quiet panic=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	if end, err := v.Expect(ctx, "plain: done", "plain: failed"); err != nil || end != "plain: done" {
		t.Fatalf("%v\n%s", err, v.Serial())
	}
	for _, got := range regexp.MustCompile(`plain: (http|curl): \w+: \d+ bytes in ([0-9.]+) s`).FindAllStringSubmatch(v.Serial(), -1) {
		took := parseSeconds(t, got[2])
		if got[1] == "http" {
			p.http += took
		} else {
			p.curl += took
		}
	}
	t.Logf("plain: /init after %s, %+v", stamp(t, v.Serial(), "plain: started"), p)
	return p
}

// plainInitrd makes the initrd for it: the medium's own with another /init on
// top, and curl and sha256sum with their libraries.
func (w *world) plainInitrd(t *testing.T) string {
	t.Helper()
	files := []tree.File{
		onDisk(t, "init", filepath.Join(bin, "plain")),
		tree.Bytes("urls", []byte(w.urls("10.0.2.2"))),
	}
	have := map[string]bool{}
	for _, program := range []string{"/usr/bin/curl", "/usr/bin/sha256sum"} {
		libraries, err := exec.Command("ldd", program).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", program, err)
		}
		for _, name := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), program) {
			if !have[name] {
				have[name] = true
				files = append(files, onDisk(t, strings.TrimPrefix(name, "/"), name))
			}
		}
	}
	var layer bytes.Buffer
	if err := initramfs.Pack(&layer, initramfs.Layer{Files: initramfs.FromTree(files...)}, initramfs.None); err != nil {
		t.Fatal(err)
	}
	below, err := tree.OnDisk("initrd", w.path("out/netboot/boot/initrd.img"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := initramfs.Join("initrd", below, tree.Bytes("layer", layer.Bytes())).Read()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initrd.img")
	if err := os.WriteFile(path, all, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// onDisk returns a program.
func onDisk(t *testing.T, name, source string) tree.File {
	t.Helper()
	f, err := tree.OnDisk(name, source)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	f.Mode = 0o755
	return f
}
