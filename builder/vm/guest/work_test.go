package guest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/vm/diskfile"
)

// disk makes an image of 40 MiB with data at both ends and between, and holes elsewhere.
func disk(t *testing.T) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	data = make([]byte, 40<<20+512)
	for _, at := range []int{0, 17 << 20, len(data) - 4096} {
		copy(data[at:], oracle.Random(uint64(at), 4096))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += 1 << 20 {
		if piece := data[at:min(at+1<<20, len(data))]; bytes.Count(piece, []byte{0}) < len(piece) {
			if _, err := f.WriteAt(piece, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(f.Truncate(int64(len(data))), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// folder lists what lies beside an image.
func folder(t *testing.T, image string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(image))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The machine works on a copy, to the byte; the image changes in one step, or not at all,
// and a new file appears likewise.
func TestWork(t *testing.T) {
	image, data := disk(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(image, link); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		for _, c := range []Config{{Image: link, Commit: true}, {Image: link, Snapshot: filepath.Join(filepath.Dir(image), "new.img")}} {
			w, err := openWork(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, w.path), data) {
				t.Fatal("the copy differs")
			}
			changed := append([]byte("changed"), data[7:]...)
			if err := os.WriteFile(w.path, changed, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, image), data) {
				t.Fatal("the image is written to")
			}
			want := data
			if keep {
				want = changed
				if err := w.keep(); err != nil {
					t.Fatal(err)
				}
			}
			w.close()
			if result := w.target; keep || c.Commit {
				if !bytes.Equal(content(t, result), want) {
					t.Errorf("commit %v, keep %v: wrong content", c.Commit, keep)
				}
				if info, err := os.Stat(result); err != nil || info.Mode() != 0o640 {
					t.Errorf("mode %v, %v", info.Mode(), err)
				}
			}
			if c.Commit {
				data = want
			}
		}
		if got, want := folder(t, image), map[bool]string{false: "disk.img", true: "disk.img new.img"}[keep]; got != want {
			t.Errorf("keep %v: the folder has %s", keep, got)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is replaced: %v, %v", info, err)
	}
	if _, err := openWork(t.Context(), Config{Image: image, Snapshot: filepath.Join(filepath.Dir(image), "new.img")}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
}

// Two at a time may read an image and none may beside one that will replace it; nor may two
// make one file. What a dead run left behind is in nobody's way.
func TestWorkBusy(t *testing.T) {
	image, data := disk(t)
	beside := func(name string) string { return filepath.Join(filepath.Dir(image), name) }
	if err := os.WriteFile(beside("a.img.part"), bytes.Repeat([]byte("x"), 50<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(c Config) (*work, error) {
		c.Image = image
		return openWork(t.Context(), c)
	}
	a, err := open(Config{Snapshot: beside("a.img")})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, a.path), data) {
		t.Error("the copy has what was left behind")
	}
	b, err := open(Config{Snapshot: beside("b.img")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{Commit: true}, {Snapshot: beside("a.img")}} {
		if _, err := open(c); !errors.Is(err, diskfile.ErrBusy) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := os.WriteFile(beside("b.img"), nil, 0o600); err != nil { // somebody else's
		t.Fatal(err)
	}
	if err := b.keep(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("somebody else's file is replaced: %v", err)
	}
	a.close()
	b.close()
	c, err := open(Config{Commit: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := open(Config{Discard: true}); !errors.Is(err, diskfile.ErrBusy) {
		t.Errorf("beside one who commits: %v", err)
	}
	if got := folder(t, image); got != "b.img disk.img disk.img.part" {
		t.Errorf("the folder has %s", got)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(image, later, later); err != nil {
		t.Fatal(err)
	}
	if err := c.keep(); !errors.Is(err, diskfile.ErrBusy) {
		t.Errorf("what somebody wrote meanwhile is replaced: %v", err)
	}
}

func TestWorkInterrupted(t *testing.T) {
	image, _ := disk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, err := openWork(ctx, Config{Image: image, Commit: true})
	if err == nil { // where the file system shares blocks, copying takes no time
		w.close()
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := folder(t, image); got != "disk.img" {
		t.Errorf("the folder has %s", got)
	}
}
