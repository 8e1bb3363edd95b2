package cachedisk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/state"
)

// The cache is where it may be: on what signed bytes name or the stick's partition it
// is made, elsewhere somebody has to have made the folder. Where it may not be, not a
// byte is written, and neither where the file system was not unmounted, unless it is
// named.
func TestFind(t *testing.T) {
	const uuid, build = "0a1b2c3d-1111-2222-3333-444455556666", "3f2a11bc09de"
	stick := Where{Build: build}
	empty := func(dir string) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		cache     func(dir string)
		name      string // of the partition
		fault     func(t *testing.T, image string) string
		where     Where
		found     bool
		has       int
		untouched bool
	}{
		"nothing":             {untouched: true},
		"a folder":            {cache: empty, found: true},
		"a cache":             {cache: fill(t, 9), found: true, has: 9},
		"named by label":      {where: Where{Label: "CACHE"}, found: true},
		"named by UUID":       {where: Where{UUID: uuid}, found: true},
		"named by both":       {where: Where{Label: "CACHE", UUID: uuid}, found: true},
		"another is named":    {where: Where{Label: "CACHE", UUID: uuid[:8]}, untouched: true},
		"seen is not named":   {where: Where{Seen: uuid}, untouched: true},
		"the stick":           {name: state.DataName, where: stick, found: true},
		"another stick":       {name: state.DataName, where: Where{Build: "000000000000"}, untouched: true},
		"another partition":   {name: "windows", where: stick, untouched: true},
		"a file":              {cache: func(dir string) { write(t, dir) }, where: Where{Label: "CACHE"}, untouched: true},
		"a link":              {cache: func(dir string) { link(t, dir) }, where: Where{Label: "CACHE"}, untouched: true},
		"asleep":              {cache: fill(t, 9), fault: unclean, found: true, has: 9, untouched: true},
		"asleep, without":     {fault: unclean, untouched: true},
		"asleep, named":       {cache: fill(t, 9), fault: unclean, where: Where{UUID: uuid}, found: true, has: 9},
		"asleep, empty":       {fault: unclean, where: Where{UUID: uuid}, found: true},
		"with errors, named":  {cache: fill(t, 9), fault: withErrors, where: Where{UUID: uuid}, found: true, has: 9, untouched: true},
		"no journal, cut off": {cache: fill(t, 9), fault: noJournal, found: true, has: 9, untouched: true},
	} {
		t.Run(name, func(t *testing.T) {
			image := ext(t, tt.cache, "-L", "CACHE", "-U", uuid)
			if tt.fault != nil {
				image = tt.fault(t, image)
			}
			m, before := newMachine(t), sum(t, image)
			m.add("sda1", state.PartitionName(build), "")
			m.add("sda2", tt.name, image)
			f, err := m.find(tt.where)
			if found := err == nil; found != tt.found || !found && !errors.Is(err, ErrNone) {
				t.Errorf("%+v, %v; said %q", f, err, m.said)
			}
			if err == nil {
				m.use(f, tt.has, tt.untouched)
			}
			if now := sum(t, image); (now == before) != tt.untouched {
				t.Errorf("was written: %t", now != before)
			}
			if tt.fault == nil {
				run(t, "e2fsprogs", "e2fsck", "-f", "-n", image)
			}
			if tt.found && !tt.untouched { // it is there the next time
				f, err := m.find(tt.where)
				if err != nil {
					t.Fatal(err)
				}
				m.use(f, tt.has+1, false)
			}
		})
	}
}

// use wants a cache to hold so many chunks, and puts one more.
func (m *machine) use(f *Found, has int, readOnly bool) {
	m.t.Helper()
	if got := holds(m.t, f); got != has {
		m.t.Errorf("%d chunks, want %d", got, has)
	}
	if !strings.HasSuffix(f.Name, " on sda2") || f.UUID == "" {
		m.t.Errorf("%+v", f)
	}
	err := f.Cache.Put(chunk(has))
	if readOnly != errors.Is(err, errFault) || !readOnly && err != nil {
		m.t.Errorf("Put = %v", err)
	}
	if err := f.Close(); err != nil {
		m.t.Error(err)
	}
}

// What signed bytes name comes first, then the stick, then the rest.
func TestOrder(t *testing.T) {
	m := newMachine(t)
	m.add("sda1", "", ext(t, fill(t, 1), "-L", "OTHER"))
	m.add("sda2", state.PartitionName("b"), "")
	m.add("sda3", state.DataName, ext(t, fill(t, 2), "-L", "STICK"))
	m.add("sda4", "", ext(t, fill(t, 3), "-L", "NAMED"))
	m.add("sda5", "", ext(t, fill(t, 4), "-L", "SEEN", "-U", "0a1b2c3d-1111-2222-3333-444455556666"))
	for _, tt := range []struct {
		where Where
		want  int
	}{
		{Where{Label: "NAMED", Build: "b", Seen: "0a1b2c3d-1111-2222-3333-444455556666"}, 3},
		{Where{Label: "GONE", Build: "b", Seen: "0a1b2c3d-1111-2222-3333-444455556666"}, 4},
		{Where{Label: "GONE", Build: "b"}, 2},
		{Where{Label: "GONE"}, 1},
	} {
		f, err := m.find(tt.where)
		if err != nil {
			t.Fatal(err)
		}
		if got := holds(t, f); got != tt.want {
			t.Errorf("%+v: that of %d chunks", tt.where, got)
		}
		other, err := m.find(tt.where) // the first one is in use
		if err != nil {
			t.Fatal(err)
		}
		if got := holds(t, other); got == tt.want {
			t.Errorf("%+v: opened twice", tt.where)
		}
		if err := errors.Join(f.Close(), other.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// readOnly tells whether the file system on a device is read-only.
func readOnly(t *testing.T, node string) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); strings.Contains(line, " "+node+" ") {
			return strings.HasPrefix(fields[len(fields)-1], "ro") // of the file system, not of the mount
		}
	}
	t.Fatalf("%s is not mounted:\n%s", node, data)
	return false
}

// A file system can be written to only while something is; where it is mounted by
// somebody else as well, it stays as it is.
func TestRest(t *testing.T) {
	m := newMachine(t)
	m.add("sda1", "", ext(t, fill(t, 1)))
	node, elsewhere := filepath.Join(m.dev, "sda1"), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m.t = t
		f, err := m.find(Where{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
		// From here on the path leads elsewhere.
		if err := unix.Mount("none", m.dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(m.dir, 0) //nolint:errcheck // Close would show it
		step := func(what string, want bool) {
			if got := readOnly(t, node); got != want {
				t.Errorf("%s: read-only: %t", what, got)
			}
		}
		put := func(n int) {
			if err := f.Cache.Put(chunk(n)); err != nil {
				t.Fatal(err)
			}
		}
		step("found", true)
		put(1)
		step("written", false)
		time.Sleep(rest - time.Second)
		put(2)
		time.Sleep(rest - time.Second)
		step("written again", false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		step("at rest", true)
		put(3)
		step("once more", false)
		if err := unix.Mount(node, elsewhere, "ext4", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(elsewhere, 0) //nolint:errcheck // the next line of the test would show it
		time.Sleep(2 * rest)
		synctest.Wait()
		step("somebody else uses it", false)
		if got := holds(t, f); got != 4 {
			t.Errorf("%d chunks", got)
		}
	})
}

// Where the system itself writes, the kernel lets it: the file system stays writable.
func TestOverlay(t *testing.T) {
	m := newMachine(t)
	m.add("sda1", "", ext(t, fill(t, 1), "-L", "DATA"))
	node, elsewhere := filepath.Join(m.dev, "sda1"), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m.t = t
		for overlay, want := range map[string]error{"": unix.EBUSY, "DATA": nil} {
			f, err := m.find(Where{Overlay: overlay})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * rest)
			synctest.Wait()
			err = unix.Mount(node, elsewhere, "ext4", 0, "")
			if !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", overlay, err, want)
			}
			if err == nil {
				unix.Unmount(elsewhere, 0) //nolint:errcheck // Close would show it
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// later is a /sys in which a disk appears.
type later struct {
	fs.FS
	when time.Time
}

func (l later) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, "block/sda") && time.Now().Before(l.when) {
		return nil, fs.ErrNotExist
	}
	return l.FS.Open(name)
}

func (l later) ReadDir(name string) ([]fs.DirEntry, error) {
	if time.Now().Before(l.when) {
		return nil, nil
	}
	return fs.ReadDir(l.FS, name)
}

// A disk that was there is waited for; one that does not come is not, for long.
func TestAppears(t *testing.T) {
	const uuid = "0a1b2c3d-1111-2222-3333-444455556666"
	m := newMachine(t)
	m.add("sda1", "", ext(t, fill(t, 1), "-U", uuid))
	for after, want := range map[time.Duration]bool{0: true, 3 * time.Second: true, time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			c := local.Config{Sysfs: later{m.sysfs, time.Now().Add(after)}, Dev: m.dev, Dir: t.TempDir(), LoadModule: func(string) error { return nil }, Log: t.Logf}
			start := time.Now()
			f, err := Find(t.Context(), c, Where{Seen: uuid})
			if took := time.Since(start); (err == nil) != want || took > appears+time.Second {
				t.Errorf("after %s: %v in %s", after, err, took)
			}
			if err == nil {
				err = f.Close()
			}
			if want && err != nil {
				t.Error(err)
			}
		})
	}
}
