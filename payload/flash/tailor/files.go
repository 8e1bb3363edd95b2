package tailor

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// drop puts files into the file system.
func (m mounted) drop(files []File) error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		if err := put(root, f, m.kind.driver != "vfat"); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		m.log("partition %d has %s now", f.Partition, f.Path)
	}
	return nil
}

// put writes one file in the place of whatever has its name. It follows no link
// that leads out of the file system, and none in the file's own place.
func put(root *os.Root, f File, modes bool) error {
	name := strings.TrimPrefix(f.Path, "/")
	if name == f.Path || !fs.ValidPath(name) || name == "." {
		return errors.New("not a clean absolute path")
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), f.Content)
	if err == nil && modes {
		err = out.Chmod(cmp.Or(f.Mode.Perm(), 0o644))
	}
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = readBack(out, sum.Sum(nil))
	}
	return errors.Join(err, out.Close(), syncDir(root, path.Dir(name)))
}

// readBack wants what a file holds to have this SHA-256, from the disk.
func readBack(f *os.File, want []byte) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return errors.New("reads back other bytes than were written")
	}
	return nil
}

// syncDir makes the names in a folder last.
func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
