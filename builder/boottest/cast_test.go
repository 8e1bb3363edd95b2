//go:build boot && long

package boottest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// castSite is a site whose image is cast.
const castSite = `kind: site
entries:
  image:
    title: Write the image, erasing the disk
    flash: {image: {file: disk.img}, disk: {serial: ` + flashed + `}, cast: {group: "239.255.7.1:7400"}, then: "off"}
default: [image]
`

// castLab is a room, a site in it with an image to cast, and a medium.
type castLab struct {
	*world
	*room
	image  string // the file
	medium string
}

// newCastLab makes all that, with an image of so many MiB, of which half packs.
func newCastLab(t *testing.T, mib int) *castLab {
	t.Helper()
	l := &castLab{world: &world{dir: t.TempDir(), url: "http://10.77.0.1:8080/"}, room: newRoom(t)}
	l.image = filepath.Join(l.dir, "disk.img")
	newCastImage(t, l.image, mib)
	l.write(t, "recipes/site.yaml", []byte(castSite))
	l.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", l.url), []byte("[net]"), []byte("[net, storage]"), 1))
	l.farboot(t, "keys", "init", "--secrets", l.secrets(t))
	l.farboot(t, "publish", "recipes/site.yaml", "--secrets", l.secrets(t))
	l.site = filepath.Join(l.dir, "out", "site")
	l.medium, _ = l.build(t)
	l.start(t, "", filepath.Join(bin, "farboot"), "serve", l.site, "--listen", "10.77.0.1:8080")
	return l
}

// newCastImage writes an image of a disk, with a table.
func newCastImage(t *testing.T, name string, mib int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 1<<20)
	for i := range mib {
		_, _ = random.Read(block) // never fails
		for at := 0; at < len(block); at += 4096 {
			clear(block[at : at+2048])
		}
		if i == 0 {
			clear(block)
		}
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	cmd := command(t, "fdisk", "sh", "-c", `printf 'label: gpt\nstart=2048\n' | sfdisk -q "$0"`, name)
	t.Logf("an image of %d MiB %s", mib, cmd)
}

// guest is a machine of the room.
type guest struct {
	*vm.VM
	*port
	disk string
}

// boot starts a machine with an empty disk.
func (l *castLab) boot(t *testing.T, i int) *guest {
	t.Helper()
	info, err := os.Stat(l.image)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{disk: filepath.Join(t.TempDir(), fmt.Sprint("disk", i))}
	putFile(t, g.disk, "", 0o600)
	if err := os.Truncate(g.disk, info.Size()+16<<20); err != nil {
		t.Fatal(err)
	}
	port, net := l.card(t)
	g.port = port
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	g.VM, err = vm.Start(ctx, vm.Config{
		Image: l.medium, Memory: 512, Disks: []vm.Disk{{File: g.disk, Serial: flashed}},
		NICs: []vm.NIC{{Model: "virtio-net-pci", MAC: fmt.Sprintf("52:54:00:77:00:%02x", i), Net: net}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

// check wants the machine to have switched itself off with the image on its disk.
func (g *guest) check(t *testing.T, image string) {
	t.Helper()
	if err := g.Wait(); err != nil || !strings.Contains(g.Serial(), "chunks by the cast") {
		t.Errorf("%v:\n%s", err, g.Serial())
	}
	for line := range strings.Lines(g.Serial()) {
		if strings.Contains(line, "chunks by the cast") || strings.Contains(line, "written, ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	want, got := open(t, image), open(t, g.disk)
	defer want.Close()
	defer got.Close()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(a)) {
		n, err := want.ReadAt(a, at)
		if n == 0 && err == io.EOF {
			return
		}
		if _, err := got.ReadAt(b[:n], at); err != nil {
			t.Fatal(err)
		}
		if at == 0 { // there is the mark that the disk is done
			mark := bytes.Index(b, []byte("farboot flash 1 done"))
			if mark < 0 {
				t.Fatal("the disk has no mark")
			}
			copy(b[mark:mark+512], a[mark:])
		}
		if !bytes.Equal(a[:n], b[:n]) {
			t.Fatalf("the disk has other bytes from %d on", at)
		}
	}
}

// open opens a file.
func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// lines is what a command prints.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// cast runs the sender until the room is done. at is called with each line that it
// prints, and may end it. It returns the time from the first packet to the end.
func (l *castLab) cast(t *testing.T, machines int, at func(line string, kill func()), args ...string) (took time.Duration, err error) {
	t.Helper()
	cmd := l.command(t, "", filepath.Join(bin, "farboot"), append([]string{"cast", l.site, "--interface", "tap0", "--machines", fmt.Sprint(machines), "--wait", "20m"}, args...)...)
	table := &lines{}
	cmd.Stdout = table
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var began time.Time
	for scan := bufio.NewScanner(out); scan.Scan(); {
		t.Log(scan.Text())
		if strings.HasPrefix(scan.Text(), "pass 1: ") && began.IsZero() {
			began = time.Now()
		}
		if at != nil {
			at(scan.Text(), func() { cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	t.Logf("%s", table)
	return time.Since(began), err
}

// TestCastPair casts a small image to two machines, of which one loses packets.
func TestCastPair(t *testing.T) {
	l := newCastLab(t, 48)
	guests := []*guest{l.boot(t, 0), l.boot(t, 1)}
	l.mu.Lock()
	guests[1].lost = 0.02
	l.mu.Unlock()
	took, err := l.cast(t, 2, nil, "--rate", "24Mbit")
	if err != nil {
		t.Error(err)
	}
	t.Logf("took %s", took)
	for _, g := range guests {
		g.check(t, l.image)
	}
}
