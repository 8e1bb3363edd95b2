package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// writer changes folders step by step: it makes files that did not exist and
// remembers them. After the first error it does nothing more.
type writer struct {
	err  error
	made []string
	// before, if set, is called before each step. Tests end the run there, as
	// a power failure would.
	before func()
}

// try runs step unless one before it failed.
func (w *writer) try(step func() error) {
	if w.err != nil {
		return
	}
	if w.before != nil {
		w.before()
	}
	w.err = step()
}

// mkdir makes a folder and those above it; one that exists is left as it is.
func (w *writer) mkdir(name string, mode fs.FileMode) {
	w.try(func() error {
		if _, err := os.Stat(name); err == nil {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.Mkdir(name, mode); err != nil {
			return err
		}
		w.made = append(w.made, name)
		return nil
	})
}

// file writes a new file through to the disk.
func (w *writer) file(name string, data []byte, mode fs.FileMode) {
	w.try(func() error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		w.made = append(w.made, name)
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// rename moves a file that was made to its place, and makes the move last.
func (w *writer) rename(from, to string) {
	w.try(func() error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		w.made = append(w.made, to)
		return syncDir(filepath.Dir(to))
	})
}

// remove removes a file, if there is one.
func (w *writer) remove(name string) {
	w.try(func() error {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// removeAll removes a folder, if there is one.
func (w *writer) removeAll(name string) {
	w.try(func() error { return os.RemoveAll(name) })
}

// sync makes the names in a folder last.
func (w *writer) sync(dir string) {
	w.try(func() error { return syncDir(dir) })
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// undo removes what was made, newest first.
func (w *writer) undo() error {
	var errs []error
	for _, name := range slices.Backward(w.made) {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
