package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/vm/diskfile"
)

// work is the file that a machine has as its disk.
type work struct {
	path    string // what QEMU opens
	format  string // raw or qcow2
	discard bool
	target  string // what it becomes
	replace bool   // the target is there

	image  *os.File  // as it was; locked
	copied time.Time // when the image had last been written to by then
	part   *os.File  // the copy, locked; nil where nothing is kept
	kept   bool
}

// drive says how QEMU opens the file. Nobody needs it after a crash, so that nothing has
// to reach the disk before [work.keep]. A full disk is an error in the guest, and no
// reason to stop it.
func (w *work) drive() string {
	drive := "format=" + w.format + ",cache=unsafe,discard=unmap,werror=report,rerror=report"
	if w.discard {
		drive += ",snapshot=on"
	}
	return drive
}

// openWork locks the image and copies it.
func openWork(ctx context.Context, c Config) (_ *work, err error) {
	path, err := filepath.EvalSymlinks(c.Image)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	w := &work{path: path, discard: c.Discard, target: c.Snapshot}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	how := unix.LOCK_SH // of many that only read it
	if c.Commit {
		how, w.target, w.replace = unix.LOCK_EX, path, true
	}
	if w.image, err = diskfile.OpenLocked(path, os.O_RDONLY, how); err != nil {
		return nil, err
	}
	if w.format, err = diskfile.Format(w.image); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image, err)
	}
	info, err := w.image.Stat()
	if err != nil {
		return nil, err
	}
	w.copied = info.ModTime()
	if c.Discard {
		return w, nil
	}
	if _, err := os.Lstat(w.target); !w.replace && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", w.target, errors.Join(err, fs.ErrExist))
	}
	if w.part, err = diskfile.OpenLocked(w.target+".part", os.O_RDWR|os.O_CREATE, unix.LOCK_EX); err != nil {
		return nil, err
	}
	w.path = w.part.Name()
	if err := duplicate(ctx, w.part, w.image); err != nil {
		return nil, fmt.Errorf("%s: copy: %w", w.path, err)
	}
	return w, nil
}

// piece is how much is copied before an interrupt is heeded.
const piece = 16 << 20

// duplicate makes to what from is: at once where the file system can share blocks, or else
// byte for byte, without the holes.
func duplicate(ctx context.Context, to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := errors.Join(to.Truncate(0), to.Chmod(info.Mode().Perm())); err != nil {
		return err
	}
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	if err := to.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		start, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole is left
		}
		if err != nil {
			return err
		}
		end, err := from.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		at = min(end, start+piece)
		if err := transfer(to, from, start, at-start); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// transfer copies n bytes, by the kernel where it can (copy_file_range).
func transfer(to, from *os.File, at, n int64) error {
	if _, err := from.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(to, from, n)
	return err
}

// keep makes the copy the target, for good.
func (w *work) keep() error {
	info, err := w.image.Stat()
	if err != nil {
		return err
	}
	if w.replace {
		// Others need not ask for the lock; what they did must not be lost.
		if _, err := diskfile.Format(w.image); err != nil {
			return err
		}
		if !info.ModTime().Equal(w.copied) {
			return fmt.Errorf("%w: somebody has written to it meanwhile", diskfile.ErrBusy)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = w.part.Chown(int(owner.Uid), int(owner.Gid)) // or it is whose program this is
		}
	}
	if err := w.part.Sync(); err != nil {
		return err
	}
	flags := uint(0)
	if !w.replace {
		flags = unix.RENAME_NOREPLACE
	}
	if err := unix.Renameat2(unix.AT_FDCWD, w.path, unix.AT_FDCWD, w.target, flags); err != nil {
		return err
	}
	w.kept = true
	dir, err := os.Open(filepath.Dir(w.target))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// close removes what is not kept, and opens the locks.
func (w *work) close() {
	if w.part != nil {
		if !w.kept {
			_ = os.Remove(w.part.Name()) // the next one takes it over
		}
		w.part.Close()
	}
	if w.image != nil {
		w.image.Close()
	}
}
