//go:build boot && long

package boottest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/builder/internal/liveiso"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/newc"
	"github.com/farboot/farboot/payload/object"
)

// readAll is a command that reads programs of the live system for the first time.
const readAll = "find /usr/lib /usr/bin -xdev -type f | head -2000 | xargs cat | wc -c"

// TestISOUEFI: TestISO there.
func TestISOUEFI(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	image, _ := w.build(t)
	w.boots(t, vm.Config{Image: image, Firmware: vm.UEFI, Memory: 1024})
}

// TestISOSoak boots thirty times in a row, by each door, and none of them hangs.
func TestISOSoak(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	image, _ := w.build(t)
	nbd := w.straight(t, liveiso.Build(t), carry.NBD)
	for i := range 30 {
		t.Run(fmt.Sprintf("%d fuse", i), func(t *testing.T) { w.boots(t, vm.Config{Image: image, Memory: 768}) })
		t.Run(fmt.Sprintf("%d nbd", i), func(t *testing.T) { w.runs(t, nbd) })
	}
}

// TestISOAway: the server is gone for a minute during the boot, and for another while
// the system is used. Reads wait, by each door.
func TestISOAway(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	var away atomic.Bool
	good := *w.handler.Load()
	w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		good.ServeHTTP(rw, r)
	}))
	leave := func() { away.Store(true); time.AfterFunc(time.Minute, func() { away.Store(false) }) }
	for _, door := range []string{carry.FUSE, carry.NBD} {
		t.Run(door, func(t *testing.T) {
			m, ctx := start(t, w.straight(t, liveiso.Build(t), door))
			expect(t, ctx, m, "Starting systemd-udevd")
			leave()
			expect(t, ctx, m, "reading-room login:")
			login(t, ctx, m)
			leave()
			ask(t, ctx, m, readAll)
			if renewed := "dmesg | grep 'the kernel has a new connection'"; door == carry.NBD {
				ask(t, ctx, m, renewed)
			}
			switchOff(t, ctx, m)
		})
	}
}

// TestISOBadMirror: the first mirror gives wrong bytes from the middle of the image on.
func TestISOBadMirror(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	good := *w.handler.Load()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lies atomic.Int64
	file := "/" + w.entry(t, "live").Iso.Image.Zst.File.Path()
	other := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var from int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && r.URL.Path == file && from > 60<<20 {
			lies.Add(1)
			good.ServeHTTP(liar{rw}, r)
			return
		}
		good.ServeHTTP(rw, r)
	})}
	go other.Serve(ln) //nolint:errcheck // ends with Close
	t.Cleanup(func() { other.Close() })
	image := w.buildFor(t, fmt.Sprintf("http://10.0.2.2:%d/", ln.Addr().(*net.TCPAddr).Port), w.url)
	w.boots(t, vm.Config{Image: image, Memory: 768})
	if lies.Load() == 0 {
		t.Error("the bad mirror was not asked for what it has wrong")
	}
}

// liar changes what passes.
type liar struct{ http.ResponseWriter }

// Write implements io.Writer.
func (l liar) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	for i := range p {
		p[i] ^= 1
	}
	return l.ResponseWriter.Write(p)
}

// TestISOPoorLine: 100 ms of latency, and 2 % of what is sent is late by what TCP takes
// to send it again.
func TestISOPoorLine(t *testing.T) {
	w := newISOWorld(t, liveiso.Build(t))
	image := w.buildFor(t, poorLine(t, strings.TrimSuffix(strings.Replace(w.url, "10.0.2.2", "127.0.0.1", 1)[len("http://"):], "/")))
	w.boots(t, vm.Config{Image: image, Memory: 768})
}

// poorLine is a proxy of TCP connections to addr, and returns its URL for guests.
func poorLine(t *testing.T, addr string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				conn.Close()
				continue
			}
			go late(server, conn)
			go late(conn, server)
		}
	}()
	return fmt.Sprintf("http://10.0.2.2:%d/", ln.Addr().(*net.TCPAddr).Port)
}

// late copies in pieces of a packet's size: each is on its way for 50 ms, and one of
// fifty for another 300, with all that come after it.
func late(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	type packet struct {
		data []byte
		due  time.Time
	}
	wire := make(chan packet, 1000) // some 1.4 MB on the way
	var group sync.WaitGroup
	group.Go(func() {
		for p := range wire {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				from.Close()
			}
		}
	})
	var loss time.Time
	for {
		data := make([]byte, 1448)
		n, err := from.Read(data)
		if err != nil {
			break
		}
		due := time.Now().Add(50 * time.Millisecond)
		if rand.IntN(50) == 0 {
			loss = due.Add(300 * time.Millisecond)
		}
		if due.Before(loss) {
			due = loss
		}
		wire <- packet{data[:n], due}
	}
	close(wire)
	group.Wait()
}

// TestISODriver: the live system's initrd has no driver of any network card. They come
// from its squashfs.
func TestISODriver(t *testing.T) {
	dir := t.TempDir()
	iso, initrd := filepath.Join(dir, "live.iso"), filepath.Join(dir, "initrd.img")
	command(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", liveiso.Build(t), "-extract", "/live/initrd.img", initrd)
	withoutDrivers(t, initrd)
	command(t, "xorriso", "xorriso", "-indev", liveiso.Build(t), "-outdev", iso, "-boot_image", "any", "discard", "-map", initrd, "/live/initrd.img")
	w := newISOWorld(t, iso)
	image, _ := w.build(t)
	for _, card := range []string{"virtio-net-pci", "e1000e"} {
		t.Run(card, func(t *testing.T) {
			w.boots(t, vm.Config{Image: image, Memory: 768, NICs: []vm.NIC{{Model: card}}})
		})
	}
}

// withoutDrivers takes the drivers of network cards, and of the bus of virtual ones,
// from an initrd.
func withoutDrivers(t *testing.T, name string) {
	t.Helper()
	packed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var files []newc.File
	dropped := 0
	err = newc.Read(r, func(f newc.File) error {
		if strings.Contains(f.Name, "/drivers/net/") || strings.Contains(f.Name, "/drivers/virtio/") {
			dropped++
			return nil
		}
		data, err := io.ReadAll(f.Content)
		f.Content = bytes.NewReader(data)
		if f.Name != "." {
			files = append(files, f)
		}
		return err
	})
	if err != nil || dropped == 0 {
		t.Fatalf("%v, %d drivers", err, dropped)
	}
	var out bytes.Buffer
	if err := newc.Write(&out, files); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestISOLarge: the parts that count lie behind 4.5 GiB of others.
func TestISOLarge(t *testing.T) {
	w := newISOWorld(t, liveiso.Large(t))
	image, _ := w.build(t)
	w.boots(t, vm.Config{Image: image, Memory: 768})
}

// straight is a machine that starts with the second kernel, as if the first one had
// chosen this door.
func (w *isoWorld) straight(t *testing.T, iso, door string) vm.Config {
	t.Helper()
	x := w.entry(t, "live").Iso
	image, err := os.Open(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	part := func(p manifest.Part) []byte {
		data := make([]byte, p.Size)
		if _, err := image.ReadAt(data, p.Offset); err != nil {
			t.Fatal(err)
		}
		return data
	}
	object := func(ref object.Ref) []byte {
		data, err := os.ReadFile(filepath.Join(w.site, ref.Path()))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	packed := object(*x.Modules)
	modules, err := carried.ReadModules(io.NewSectionReader(bytes.NewReader(packed), 0, int64(len(packed))), x.Release)
	if err != nil {
		t.Fatal(err)
	}
	picked, err := modules.Pick(carried.Wish{
		Must: slices.Sorted(maps.Keys(blockdev.Needs(door))), Want: []string{"isofs", "squashfs", "overlay"},
		Cards: []carried.Card{{MAC: "a virtual one", Aliases: []string{"virtio:d00000001v00001AF4", "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	document, err := carry.Encode(carry.Document{
		Image: x.Image, Sites: []string{w.url}, Networks: []netconf.Network{{}}, Time: time.Now().UTC(), Door: door, Device: blockdev.Default(door),
	})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := os.ReadFile(filepath.Join(bin, "farboot-agent"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(data []byte) newc.File {
		return newc.File{Mode: newc.Regular | 0o755, Size: int64(len(data)), Content: bytes.NewReader(data)}
	}
	initrd := part(x.Initrd[0])
	out := bytes.NewBuffer(append(initrd, make([]byte, -len(initrd)&3)...))
	if err := newc.Write(out, carried.Layer(document, file(object(*x.Init.File)), picked, nil, file(agent))); err != nil {
		t.Fatal(err)
	}
	return vm.Config{Kernel: save(t, "vmlinuz", part(x.Kernel)), Initrd: save(t, "initrd", out.Bytes()), Cmdline: x.Line(blockdev.Default(door)), Memory: 768}
}

// entry returns what the published manifest says of an entry.
func (w *world) entry(t *testing.T, name string) manifest.Entry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.site, manifest.File))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m.Entries[name]
}
