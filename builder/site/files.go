package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/trust"
)

// staging is the folder, on the site's own file system, where files grow until
// they are whole. No server should hand out names that begin with a dot.
const staging = ".staging"

// Files returns the files of the site in the folder dir.
func Files(dir string) accept.Files {
	return func(_ context.Context, name string, max int64) ([]byte, error) {
		return readFile(filepath.Join(dir, filepath.FromSlash(name)), max)
	}
}

// memory is files of a site that does not exist yet.
type memory map[string][]byte

// read is an [accept.Files].
func (m memory) read(_ context.Context, name string, _ int64) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

// readPair reads a document of at most max bytes and its signatures, which may
// be missing.
func readPair(dir, name string, max int64) (data, sigs []byte, err error) {
	name = filepath.Join(dir, filepath.FromSlash(name))
	if data, err = readFile(name, max); err != nil {
		return nil, nil, err
	}
	sigs, err = readFile(name+".sig", trust.MaxSignatureSize)
	if errors.Is(err, fs.ErrNotExist) {
		return data, nil, nil
	}
	return data, sigs, err
}

// readFile reads a file of at most max bytes.
func readFile(name string, max int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > max {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), max)
	}
	return os.ReadFile(name)
}

// stage returns a file that will become the site path name, readable by every
// web server.
func (p *publication) stage(name string) (*renameio.PendingFile, error) {
	dir := filepath.Join(p.Dir, staging)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return renameio.NewPendingFile(filepath.Join(p.Dir, name), renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o644))
}

// makeDir makes the folder and those above it that are missing, open to web
// servers whatever the umask. What is there stays as it is.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) { // another publication was faster
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// lock keeps other publications out of dir. It ends with the process.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another publication is at work: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// syncDir makes the renames in a folder last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
