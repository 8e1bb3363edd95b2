package cachedisk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// run runs a tool of the Debian package named.
func run(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil { // not on everybody's PATH
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q (Debian package %s): %v\n%s", name, args, pkg, err, out)
	}
	return strings.TrimSpace(string(out))
}

// machine is one with partitions of a disk, each of which is a loop device.
type machine struct {
	t     *testing.T
	sysfs fstest.MapFS
	dev   string
	dir   string // where the last find mounted
	said  []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts loop devices; it must be run by root")
	}
	return &machine{t: t, sysfs: fstest.MapFS{"block/sda/size": {Data: []byte("100")}}, dev: t.TempDir()}
}

// add makes an image a partition, as a GPT calls it. Without one it is empty.
func (m *machine) add(part, name, image string) {
	m.t.Helper()
	m.sysfs["block/sda/"+part+"/partition"] = &fstest.MapFile{Data: []byte("1")}
	m.sysfs["block/sda/"+part+"/uevent"] = &fstest.MapFile{Data: []byte("PARTNAME=" + name + "\n")}
	if image == "" {
		write(m.t, filepath.Join(m.dev, part))
		return
	}
	node := run(m.t, "mount", "losetup", "--find", "--show", image)
	m.t.Cleanup(func() { run(m.t, "mount", "losetup", "--detach", node) })
	if err := os.Symlink(node, filepath.Join(m.dev, part)); err != nil {
		m.t.Fatal(err)
	}
}

// find is Find.
func (m *machine) find(w Where) (*Found, error) {
	m.dir = m.t.TempDir()
	return Find(m.t.Context(), local.Config{
		Sysfs: m.sysfs, Dev: m.dev, Dir: m.dir,
		LoadModule: func(string) error { return nil },
		Log:        func(format string, args ...any) { m.said = append(m.said, fmt.Sprintf(format, args...)) },
	}, w)
}

// ext makes an ext file system; with a cache on it where that is not nil.
func ext(t *testing.T, cache func(dir string), args ...string) string {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	if cache != nil {
		cache(filepath.Join(dir, imagecache.Dir))
	}
	run(t, "e2fsprogs", "mke2fs", append(append([]string{"-q", "-t", "ext4"}, args...), "-d", dir, image, "100M")...)
	return image
}

// chunk returns the n-th chunk and its hash.
func chunk(n int) (object.ID, []byte) {
	data := bytes.Repeat(fmt.Appendf(nil, "chunk %d, ", n), 10_000)
	return sha256.Sum256(data), data
}

// fill returns what makes a folder with some chunks.
func fill(t *testing.T, n int) func(dir string) {
	return func(dir string) {
		c, err := imagecache.Open(dir, imagecache.DefaultLimits(64<<20))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := c.Put(chunk(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// holds counts the chunks that are there, all of them right.
func holds(t *testing.T, f *Found) (n int) {
	t.Helper()
	for i := range 100 {
		id, want := chunk(i)
		got, ok := f.Cache.Get(id)
		if ok && !bytes.Equal(got, want) {
			t.Fatalf("chunk %d has other bytes", i)
		}
		if ok {
			n++
		}
	}
	return n
}

// unclean makes an image what a machine leaves behind that lost power while it wrote:
// its journal holds what its tables lack.
func unclean(t *testing.T, image string) string {
	t.Helper()
	dir, cut := t.TempDir(), filepath.Join(t.TempDir(), "cut")
	node := run(t, "mount", "losetup", "--find", "--show", image)
	run(t, "mount", "mount", node, dir)
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "coreutils", "sync", "-f", dir)
	run(t, "coreutils", "cp", image, cut)
	run(t, "mount", "umount", dir)
	run(t, "mount", "losetup", "--detach", node)
	return cut
}

func sum(t *testing.T, name string) object.ID {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

func write(t *testing.T, name string) {
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, name string) {
	if err := os.Symlink("lost+found", name); err != nil {
		t.Fatal(err)
	}
}

func withErrors(t *testing.T, image string) string {
	run(t, "e2fsprogs", "debugfs", "-w", "-R", "ssv state 3", image)
	return image
}

func noJournal(t *testing.T, image string) string {
	run(t, "e2fsprogs", "tune2fs", "-O", "^has_journal", image)
	run(t, "e2fsprogs", "debugfs", "-w", "-R", "ssv state 0", image)
	return image
}
