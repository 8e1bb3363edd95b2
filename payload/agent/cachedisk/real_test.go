//go:build boot

package cachedisk

import (
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/local"
)

// These tests run in a machine of package boottest, on Debian's kernel, whose virtio
// disks are file systems with the label CACHE.

// all is how many chunks there are.
const all = 100

// only is a /sys with one disk.
type only struct {
	fs.FS
	disk string
}

func (o only) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.FS, name)
	if name != "block" {
		return entries, err
	}
	var one []fs.DirEntry
	for _, e := range entries {
		if e.Name() == o.disk {
			one = append(one, e)
		}
	}
	return one, err
}

// realDisks lists the disks.
func realDisks(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name()[:2] == "vd" {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		t.Fatal("no disks")
	}
	return names
}

// realFind opens the cache on a disk.
func realFind(t *testing.T, disk string) *Found {
	t.Helper()
	dir, err := os.MkdirTemp("", disk) // what is mounted there is not to be removed
	if err != nil {
		t.Fatal(err)
	}
	f, err := Find(t.Context(), local.Config{
		Sysfs: only{os.DirFS("/sys"), disk}, Dev: "/dev", Dir: dir,
		LoadModule: func(string) error { return nil }, Log: t.Logf,
	}, Where{Label: "CACHE"})
	if err != nil {
		t.Fatalf("%s: %v", disk, err)
	}
	return f
}

// putAll puts what is not there.
func putAll(t *testing.T, f *Found) {
	t.Helper()
	for i := range all {
		if err := f.Cache.Put(chunk(i)); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	if n := holds(t, f); n != all {
		t.Errorf("%s: %d chunks after all were put", f.Name, n)
	}
}

// TestRealFill fills caches, and waits until their file systems can be switched off.
func TestRealFill(t *testing.T) {
	for _, disk := range realDisks(t) {
		f := realFind(t, disk)
		putAll(t, f)
		if readOnly(t, "/dev/"+disk) {
			t.Errorf("%s: read-only while it is written to", disk)
		}
	}
	time.Sleep(rest + 5*time.Second)
	for _, disk := range realDisks(t) {
		if !readOnly(t, "/dev/"+disk) {
			t.Errorf("%s: not read-only at rest", disk)
		}
	}
	// The machine is switched off as it is.
}

// TestRealCheck: of disks that lost power, what is there is right, and all can be put
// that is not.
func TestRealCheck(t *testing.T) {
	for _, disk := range realDisks(t) {
		f := realFind(t, disk)
		t.Logf("%s: %s had %d of %d chunks", disk, f.Name, holds(t, f), all)
		putAll(t, f)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		f = realFind(t, disk)
		if n := holds(t, f); n != all {
			t.Errorf("%s: %d chunks the next time", disk, n)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
