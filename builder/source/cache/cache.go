// Package cache keeps verified bytes between builds: downloads by their hash
// ([Cache.Put], [Cache.Path]) and what was derived from them by the hash of its
// inputs ([Cache.Layer]).
//
// Content is hashed whenever it is handed out; what does not fit its hash is
// removed and made again. So a cache may be cut off, filled up, damaged or
// deleted at any time, and costs no more than the work of filling it. Downloads
// need no trust at all: the lock has their hashes. Layers do: what hash a key
// stands for is a note in the folder, and who may write there may write
// another. They are trusted as much as the account is, so [Open] refuses a
// folder that others own or may write to. Several processes may use one folder
// at the same time.
//
// The package has no index and never forgets: to empty a cache, remove the
// folder.
//
//	blobs/<sha256>       content
//	blobs/<sha256>.part  a download that was cut, or is under way
//	blobs/layer-*.part   a layer that is being made; [Open] removes those of dead runs
//	layers/<hash>        JSON: size and SHA-256 of the blob that a key stands for
package cache

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
	"golang.org/x/sys/unix"
)

// maxLayerFile bounds a file below layers/, in bytes; they have about 110.
const maxLayerFile = 1 << 10

// ErrShared is wrapped by the error for a folder that others could plant layers
// in.
var ErrShared = errors.New("others can write to the cache")

// Cache is a folder. The zero Cache is not usable.
type Cache struct {
	blobs, layers string
	program       string // programID
}

// DefaultDir returns the farboot folder of the user's cache folder.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return filepath.Join(dir, "farboot"), nil
}

// Open returns the cache in the folder dir, which it makes if need be. If
// another user owns it, or may write to it, the error wraps [ErrShared].
func Open(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	program, err := programID()
	if err != nil {
		return nil, err
	}
	c := &Cache{filepath.Join(dir, "blobs"), filepath.Join(dir, "layers"), program}
	for _, d := range []string{dir, c.blobs, c.layers} {
		// 0700 is what the XDG base directory specification asks for.
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		if err := checkOwn(d); err != nil {
			return nil, err
		}
	}
	return c, c.sweep()
}

// sweep removes the unfinished layers of runs that were killed. Whoever makes
// one holds its lock, and the lock goes with the process.
func (c *Cache) sweep() error {
	parts, err := fs.Glob(os.DirFS(c.blobs), "layer-*.part")
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, name := range parts {
		part := filepath.Join(c.blobs, name)
		f, err := os.Open(part)
		if err != nil {
			continue // finished meanwhile
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.Remove(part)
		}
		f.Close()
	}
	return nil
}

// checkOwn refuses a folder that another user owns or may write to.
func checkOwn(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cache: %w", &fs.PathError{Op: "stat", Path: dir, Err: err})
	}
	if me := os.Geteuid(); int(st.Uid) != me {
		return fmt.Errorf("%w: %s belongs to user %d, this is user %d", ErrShared, dir, st.Uid, me)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("%w: %s has mode %04o", ErrShared, dir, st.Mode&0o7777)
	}
	return nil
}

// Has tells whether the cache seems to hold the object: by its size alone, at
// no cost. Only [Cache.Path] and [Cache.Open] tell for certain.
func (c *Cache) Has(ref object.Ref) bool {
	info, err := os.Lstat(c.blob(ref.SHA256))
	return err == nil && info.Mode().IsRegular() && info.Size() == ref.Size
}

// Find returns the size of an object of which only the hash is known, where the
// cache holds it.
func (c *Cache) Find(id object.ID) (object.Ref, bool) {
	info, err := os.Lstat(c.blob(id))
	if err != nil {
		return object.Ref{}, false
	}
	ref := object.Ref{Size: info.Size(), SHA256: id}
	_, ok := c.Path(ref)
	return ref, ok
}

// Path returns where the object lies, after hashing it. Wrong content is
// removed and reported as absent.
func (c *Cache) Path(ref object.Ref) (string, bool) {
	f, ok := c.Open(ref)
	if !ok {
		return "", false
	}
	f.Close()
	return c.blob(ref.SHA256), true
}

// Open is [Cache.Path] for callers that read: the file that was hashed.
func (c *Cache) Open(ref object.Ref) (*os.File, bool) {
	if !c.Has(ref) {
		return nil, false
	}
	f, err := os.Open(c.blob(ref.SHA256))
	if err != nil {
		return nil, false
	}
	if err := verify(f, ref); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, false
	}
	return f, true
}

// Put returns where the object lies, after fill has written it where it does
// not lie there yet. fill gets the file of a download that was cut before,
// whatever that holds; what it leaves there must be the object. If fill fails,
// the file is kept for the next attempt, unless the error wraps
// [object.ErrMismatch].
//
// A second Put for the same object, in this process or another, waits for the
// first.
func (c *Cache) Put(ctx context.Context, ref object.Ref, fill func(part *os.File) error) (string, error) {
	final := c.blob(ref.SHA256)
	part, err := claim(ctx, final+".part")
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer part.Close() // gives up the claim, last of all
	if path, ok := c.Path(ref); ok {
		return path, os.Remove(part.Name())
	}
	if err := fillPart(part, ref, fill); err != nil {
		if errors.Is(err, object.ErrMismatch) {
			os.Remove(part.Name())
		}
		return "", err
	}
	if err := os.Rename(part.Name(), final); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return final, nil
}

// fillPart lets fill write the file and makes sure that it wrote the object.
func fillPart(part *os.File, ref object.Ref, fill func(*os.File) error) error {
	if info, err := part.Stat(); err != nil || info.Size() > ref.Size {
		if err := part.Truncate(0); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	if err := fill(part); err != nil {
		return err
	}
	if err := verify(part, ref); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// Layer returns where the bytes lie that key stands for, after write has
// written them where they do not lie there yet. The key is the hash of
// everything that the bytes depend on, but for write's code: another build of
// this program makes its own layers.
func (c *Cache) Layer(key object.ID, write func(w io.Writer) error) (string, object.Ref, error) {
	note := c.note(key)
	if ref, err := readNote(note); err == nil {
		if path, ok := c.Path(ref); ok {
			return path, ref, nil
		}
	}
	ref, err := c.add(write)
	if err != nil {
		return "", object.Ref{}, err
	}
	data, err := json.Marshal(ref)
	if err == nil {
		// Not by rename: a note that was cut counts as none, and a run that is
		// killed leaves no third kind of file.
		err = os.WriteFile(note, data, 0o600)
	}
	if err != nil {
		return "", object.Ref{}, fmt.Errorf("cache: %w", err)
	}
	return c.blob(ref.SHA256), ref, nil
}

// add stores what write writes. Nothing is synced to the disk: should the power
// fail, the hash will tell, and a layer is cheap to make again.
func (c *Cache) add(write func(w io.Writer) error) (object.Ref, error) {
	tmp, err := claim(context.Background(), filepath.Join(c.blobs, "layer-"+rand.Text()+".part"))
	if err != nil {
		return object.Ref{}, fmt.Errorf("cache: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once the file has its final name
	defer tmp.Close()
	h := sha256.New()
	if err := write(io.MultiWriter(tmp, h)); err != nil {
		return object.Ref{}, err
	}
	size, err := tmp.Seek(0, io.SeekCurrent)
	if err != nil {
		return object.Ref{}, fmt.Errorf("cache: %w", err)
	}
	ref := object.Ref{Size: size, SHA256: object.ID(h.Sum(nil))}
	if err := os.Rename(tmp.Name(), c.blob(ref.SHA256)); err != nil {
		return object.Ref{}, fmt.Errorf("cache: %w", err)
	}
	return ref, nil
}

// note returns where it is written down what the key stands for, to this build
// of the program.
func (c *Cache) note(key object.ID) string {
	mine := object.ID(sha256.Sum256(fmt.Appendf(nil, "%s %s", key, c.program)))
	return filepath.Join(c.layers, mine.String())
}

// readNote returns what a file below layers/ says.
func readNote(path string) (ref object.Ref, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return object.Ref{}, err
	}
	return ref, strictjson.Decode(data, maxLayerFile, &ref)
}

// block is how much of a file is read at a time, in bytes: few calls, and it
// stays in a processor's cache.
const block = 256 << 10

// verify hashes the whole file.
func verify(f *os.File, ref object.Ref) error {
	v := object.NewVerifier(ref)
	// One byte more than promised is enough to see that there is more.
	all := io.NewSectionReader(f, 0, ref.Size+1)
	if _, err := bufio.NewReaderSize(all, int(min(ref.Size+1, block))).WriteTo(v); err != nil {
		return err
	}
	return v.Close()
}

// blob returns where the object called id lies, if it is there.
func (c *Cache) blob(id object.ID) string { return filepath.Join(c.blobs, id.String()) }

// claim opens the file at path, new if need be, for this caller alone.
func claim(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(ctx, f); err != nil {
			f.Close()
			return nil, err
		}
		// Whoever had it before may have renamed or removed it meanwhile.
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Close()
			return nil, err
		}
		f.Close()
	}
}
