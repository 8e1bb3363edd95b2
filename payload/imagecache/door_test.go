package imagecache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// writing lists what this process has open for writing below dir.
func writing(t *testing.T, dir string) (names []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		name, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !filepath.IsAbs(name) || filepath.Dir(name) != dir {
			continue
		}
		var flags int
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err == nil {
			var pos int
			_, err = fmt.Sscanf(string(info), "pos:\t%d\nflags:\t%o", &pos, &flags)
		}
		if err != nil {
			t.Fatal(err)
		}
		if flags&3 != os.O_RDONLY {
			names = append(names, name)
		}
	}
	return names
}

// The door stands open from the first write until nothing was written for a while,
// and nothing is open for writing when it is shut. What is read needs no door.
func TestDoor(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		door := Door{
			Open: func() error { calls = append(calls, "open"); return nil },
			Shut: func() {
				if open := writing(t, dir); len(open) > 0 {
					t.Errorf("shut while %q are written to", open)
				}
				calls = append(calls, "shut")
			},
			Rest: 30 * time.Second,
		}
		c, err := OpenBehind(door, dir, DefaultLimits(16<<20))
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range []struct {
			do   func()
			want int
		}{
			{func() { held(t, c, 3, 1000) }, 0},
			{func() { put(t, c, 0, 5, 1000) }, 1},
			{func() { time.Sleep(20 * time.Second); put(t, c, 5, 6, 1000); time.Sleep(20 * time.Second) }, 1},
			{func() { time.Sleep(11 * time.Second) }, 2},
			{func() { put(t, c, 0, 6, 1000); held(t, c, 6, 1000) }, 2}, // all are there
			{func() { put(t, c, 6, 8, 1000) }, 3},
			{func() { c.Close() }, 4},
			{func() { time.Sleep(time.Hour) }, 4},
		} {
			step.do()
			synctest.Wait()
			if want := []string{"open", "shut", "open", "shut"}[:step.want]; !slices.Equal(calls, want) {
				t.Fatalf("step %d: %q, want %q", i, calls, want)
			}
		}
	})
	c := open(t, dir, DefaultLimits(16<<20))
	if got := held(t, c, 9, 1000); !slices.Equal(got, upTo(8)) {
		t.Errorf("holds %v", got)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("files %q, want one that was gone on with", names)
	}
}

// A folder is still the same when its path leads elsewhere, as after a switch_root.
func TestMoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	c := open(t, dir, Limits{Size: 40_000, Segment: 10_000})
	put(t, c, 0, 5, 1000)
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	put(t, c, 5, 50, 1000)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if s := open(t, moved, DefaultLimits(16<<20)).Stats(); s.Chunks != 32 && s.Chunks != 36 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the old path is there again")
	}
}

// Behind a door that stays shut nothing is written, and all can be read.
func TestDoorShut(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, DefaultLimits(16<<20))
	put(t, c, 0, 5, 1000)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	locked := errors.New("locked")
	c, err := OpenBehind(Door{Open: func() error { return locked }}, dir, DefaultLimits(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, data := chunk(7, 1000)
	if err := c.Put(id, data); !errors.Is(err, locked) {
		t.Errorf("Put = %v", err)
	}
	if got := held(t, c, 9, 1000); !slices.Equal(got, upTo(5)) {
		t.Errorf("holds %v", got)
	}
}
