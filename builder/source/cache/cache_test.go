package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// body is the object that tests keep.
var (
	body    = bytes.Repeat([]byte("farboot "), 5000)
	bodyRef = object.OfBytes(body)
)

// fill writes the whole body.
func fill(part *os.File) error {
	_, err := part.WriteAt(body, 0)
	return err
}

// newCache opens a cache in a folder of its own.
func newCache(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "farboot"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// put stores the body and returns its path.
func put(t *testing.T, c *Cache) string {
	t.Helper()
	path, err := c.Put(t.Context(), bodyRef, fill)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("stored: %d bytes, %v", len(got), err)
	}
	return path
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/somewhere")
	if dir, err := DefaultDir(); err != nil || dir != "/somewhere/farboot" {
		t.Errorf("got %q, %v", dir, err)
	}
}

// TestPut stores once and remembers.
func TestPut(t *testing.T) {
	c := newCache(t)
	if c.Has(bodyRef) {
		t.Error("an empty cache has it")
	}
	if _, ok := c.Path(bodyRef); ok {
		t.Error("an empty cache gives it")
	}
	path := put(t, c)
	if got, ok := c.Path(bodyRef); !ok || got != path || !c.Has(bodyRef) {
		t.Errorf("path: %q, %v", got, ok)
	}
	if ref, ok := c.Find(bodyRef.SHA256); !ok || ref != bodyRef {
		t.Errorf("find: %v, %v", ref, ok)
	}
	_, err := c.Put(t.Context(), bodyRef, func(*os.File) error { return errors.New("asked again") })
	if err != nil {
		t.Errorf("second put: %v", err)
	}
	wantFiles(t, c, 1)
}

// wantFiles counts the files below blobs/: nothing may be left over.
func wantFiles(t *testing.T, c *Cache, want int) {
	t.Helper()
	all, err := os.ReadDir(c.blobs)
	if err != nil || len(all) != want {
		t.Errorf("blobs/ holds %v (%v), want %d files", all, err, want)
	}
}

// TestSweep: what a killed run left of a layer goes with the next Open; what a
// run that lives is making stays.
func TestSweep(t *testing.T) {
	c := newCache(t)
	dead := filepath.Join(c.blobs, "layer-DEAD.part")
	if err := os.WriteFile(dead, body, 0o600); err != nil {
		t.Fatal(err)
	}
	_, ref, err := c.Layer(bodyRef.SHA256, func(w io.Writer) error {
		if _, err := Open(filepath.Dir(c.blobs)); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	})
	if err != nil || ref != bodyRef {
		t.Errorf("Layer while another opens the cache: %v, %v", ref, err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead run's part: %v", err)
	}
	wantFiles(t, c, 1)
}

// TestCorruptBlob damages the file in every way that leaves a file. No damage
// may be handed out, and each must heal.
func TestCorruptBlob(t *testing.T) {
	flipped := bytes.Clone(body)
	flipped[len(flipped)/2] ^= 1
	for name, damage := range map[string]func(path string) error{
		"bit flip": func(p string) error { return os.WriteFile(p, flipped, 0o600) },
		"cut":      func(p string) error { return os.Truncate(p, 100) },
		"empty":    func(p string) error { return os.Truncate(p, 0) },
		"grown":    func(p string) error { return os.WriteFile(p, append(bytes.Clone(body), 'x'), 0o600) },
		"removed":  os.Remove,
		"symlink": func(p string) error {
			return errors.Join(os.Rename(p, p+".old"), os.Symlink(p+".old", p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			if err := damage(put(t, c)); err != nil {
				t.Fatal(err)
			}
			if path, ok := c.Path(bodyRef); ok {
				t.Errorf("handed out: %s", path)
			}
			if _, ok := c.Find(bodyRef.SHA256); ok {
				t.Error("found")
			}
			put(t, c)
		})
	}
}

// TestInterruptedPut keeps what is there, for the next attempt to go on from.
func TestInterruptedPut(t *testing.T) {
	c := newCache(t)
	cut := errors.New("connection lost")
	_, err := c.Put(t.Context(), bodyRef, func(part *os.File) error {
		_, err := part.WriteAt(body[:1000], 0)
		return errors.Join(err, cut)
	})
	if !errors.Is(err, cut) || c.Has(bodyRef) {
		t.Fatalf("got %v", err)
	}
	_, err = c.Put(t.Context(), bodyRef, func(part *os.File) error {
		got, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(got, body[:1000]) {
			t.Errorf("the second attempt finds %d bytes, %v", len(got), err)
		}
		return fill(part)
	})
	if err != nil {
		t.Error(err)
	}
	wantFiles(t, c, 1)
}

// TestWrongPut refuses what is not the object, and starts afresh after it.
func TestWrongPut(t *testing.T) {
	c := newCache(t)
	wrong := bytes.Clone(body)
	wrong[0] ^= 1
	for _, data := range [][]byte{wrong, body[:10], append(bytes.Clone(body), 'x'), nil} {
		_, err := c.Put(t.Context(), bodyRef, func(part *os.File) error {
			if info, err := part.Stat(); err != nil || info.Size() != 0 {
				t.Errorf("starts with %d bytes, %v", info.Size(), err)
			}
			_, err := part.Write(data)
			return err
		})
		if !errors.Is(err, object.ErrMismatch) {
			t.Errorf("%d wrong bytes: %v", len(data), err)
		}
		wantFiles(t, c, 0)
	}
	if err := os.WriteFile(c.blob(bodyRef.SHA256)+".part", append(bytes.Clone(body), "left over"...), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, c)
}

// TestConcurrentPut has many ask for one object, by caches that know nothing of
// each other, as processes do. It is fetched once.
func TestConcurrentPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "farboot")
	var fills atomic.Int32
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			c, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = c.Put(t.Context(), bodyRef, func(part *os.File) error {
				fills.Add(1)
				time.Sleep(10 * time.Millisecond)
				return fill(part)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("filled %d times", n)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, c, 1)
}

// TestImpatientPut gives up waiting when its context ends.
func TestImpatientPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t)
		_, err := c.Put(t.Context(), bodyRef, func(part *os.File) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Put(ctx, bodyRef, fill); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("second put: %v", err)
			}
			return fill(part)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestPutBehindFailure waits for one that fails and takes its file along: the
// next needs a file of its own, not the one that it has waited for.
func TestPutBehindFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t)
		go func() {
			time.Sleep(time.Second)
			put(t, c)
		}()
		_, err := c.Put(t.Context(), bodyRef, func(part *os.File) error {
			time.Sleep(2 * time.Second)
			return nil
		})
		if !errors.Is(err, object.ErrMismatch) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		wantFiles(t, c, 1)
	})
}

// TestLayer makes a layer once, and again whenever anything about it is wrong.
func TestLayer(t *testing.T) {
	c := newCache(t)
	key := object.OfBytes([]byte("key")).SHA256
	made := 0
	layer := func() {
		t.Helper()
		path, ref, err := c.Layer(key, func(w io.Writer) error {
			made++
			_, err := w.Write(body)
			return err
		})
		got, rerr := os.ReadFile(path)
		if err != nil || rerr != nil || ref != bodyRef || !bytes.Equal(got, body) {
			t.Fatalf("layer: %d bytes as %v, %v, %v", len(got), ref, err, rerr)
		}
	}
	layer()
	layer()
	if made != 1 {
		t.Errorf("made %d times before any damage", made)
	}
	blob, note := c.blob(bodyRef.SHA256), c.note(key)
	for i, damage := range []func() error{
		func() error { return os.WriteFile(blob, bytes.Repeat([]byte("x"), len(body)), 0o600) },
		func() error { return os.Remove(blob) },
		func() error { return os.Truncate(note, 0) },
		func() error { return os.WriteFile(note, []byte(`{"size":1,"sha256":"00"}`), 0o600) },
		func() error {
			return os.WriteFile(note, []byte(`{"size":9,"sha256":"`+bodyRef.SHA256.String()+`"}`), 0o600)
		},
		func() error { return os.Remove(note) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if layer(); made != i+2 {
			t.Errorf("damage %d: made %d times in all", i, made)
		}
	}
	wantFiles(t, c, 1)
}

// TestLayerOfAnotherProgram is not this program's layer.
func TestLayerOfAnotherProgram(t *testing.T) {
	c := newCache(t)
	made := 0
	for _, program := range []string{c.program, "another build", c.program, "another build"} {
		c.program = program
		if _, _, err := c.Layer(object.ID{}, func(w io.Writer) error { made++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if made != 2 {
		t.Errorf("made %d times by two programs", made)
	}
	if again := newCache(t); again.program == "" || again.program == c.program {
		t.Errorf("program %q", again.program)
	}
}

// TestOpenSharedFolder refuses folders in which others could plant layers.
func TestOpenSharedFolder(t *testing.T) {
	for name, share := range map[string]func(dir string) error{
		"group":         func(dir string) error { return os.Chmod(dir, 0o770) },
		"everyone":      func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) },
		"layers":        func(dir string) error { return os.Chmod(filepath.Join(dir, "layers"), 0o777) },
		"another owner": func(dir string) error { return os.Chown(dir, 12345, -1) },
	} {
		dir := filepath.Join(t.TempDir(), "farboot")
		if _, err := Open(dir); err != nil {
			t.Fatal(err)
		}
		if err := share(dir); errors.Is(err, os.ErrPermission) {
			t.Logf("%s: only root can give a folder away", name)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrShared) {
			t.Errorf("%s: %v, want ErrShared", name, err)
		}
	}
}

// TestFailedLayer leaves nothing behind.
func TestFailedLayer(t *testing.T) {
	c := newCache(t)
	broken := errors.New("broken")
	_, _, err := c.Layer(object.ID{}, func(w io.Writer) error {
		_, err := w.Write(body)
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	wantFiles(t, c, 0)
	if all, _ := os.ReadDir(c.layers); len(all) != 0 {
		t.Errorf("layers/ holds %v", all)
	}
}

// BenchmarkPath measures what it costs to hand out what a medium is made of.
func BenchmarkPath(b *testing.B) {
	c, err := Open(filepath.Join(b.TempDir(), "farboot"))
	if err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat(body, 25<<20/len(body))
	ref := object.OfBytes(data)
	if _, err := c.Put(b.Context(), ref, func(part *os.File) error { _, err := part.Write(data); return err }); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(ref.Size)
	for b.Loop() {
		if _, ok := c.Path(ref); !ok {
			b.Fatal(fmt.Errorf("%s is gone", ref))
		}
	}
}
