package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// writer makes files that did not exist and remembers them. After the first
// error it does nothing more.
type writer struct {
	err  error
	made []string
}

// try runs step unless one before it failed.
func (w *writer) try(step func() error) {
	if w.err == nil {
		w.err = step()
	}
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
