package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Where a medium has what its agent is told, for people. The agent reads the
// same bytes from its initramfs.
const (
	SettingsPath   = "farboot/settings.json"
	StatementPath  = "farboot/statement.json"
	SignaturesPath = "farboot/statement.json.sig"

	initrdPath = "boot/initrd.img"
)

const (
	// maxRecord bounds one record, in bytes. Real ones have 1 to 5 KiB.
	maxRecord = 1 << 20
	// tail is how much of the initrd's end is searched for the records, in
	// bytes: all three at their largest, with cpio's headers.
	tail = 3*maxRecord + 4096
)

// reader returns the last n bytes of a file of the medium, or all where it has
// fewer.
type reader func(name string, n int64) ([]byte, error)

// Records reads what the medium at path tells its agent: the settings
// (payload/settings) and the trust statement with its signatures, none of them
// judged. The medium is an image, or a folder for netboot. That the agent's own
// copies are the same is checked: they end the initrd, and are not compressed.
func Records(path string) (settings, statement, sigs []byte, err error) {
	fail := func(err error) ([]byte, []byte, []byte, error) {
		return nil, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	read := folder(path)
	if !info.IsDir() {
		report, err := Image(f, info.Size())
		if err != nil {
			return fail(err)
		}
		read = report.reader(f)
	}
	end, err := read(initrdPath, tail)
	if err != nil {
		return fail(err)
	}
	var found [3][]byte
	for i, name := range []string{SettingsPath, StatementPath, SignaturesPath} {
		if found[i], err = record(read, name, end); err != nil {
			return fail(err)
		}
	}
	return found[0], found[1], found[2], nil
}

// record reads one record, which must stand in the end of the initrd as well.
func record(read reader, name string, end []byte) ([]byte, error) {
	data, err := read(name, maxRecord+1)
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0 || len(data) > maxRecord:
		return nil, fmt.Errorf("%w: %s: want 1 to %d bytes", ErrMalformed, name, maxRecord)
	case !bytes.Contains(end, data):
		return nil, fmt.Errorf("%w: %s is not what lies in %s", ErrMalformed, name, initrdPath)
	}
	return data, nil
}

// reader reads files of the image's ISO 9660 file system.
func (r *Report) reader(image io.ReaderAt) reader {
	return func(name string, n int64) ([]byte, error) {
		for _, f := range r.Files {
			if f.Path == name {
				return last(image, f.start, f.Size, n)
			}
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, name, fs.ErrNotExist)
	}
}

// folder reads files below dir.
func folder(dir string) reader {
	return func(name string, n int64) ([]byte, error) {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return last(f, 0, info.Size(), n)
	}
}

// last reads the last n of the size bytes from start on, or all where n is more.
func last(r io.ReaderAt, start, size, n int64) ([]byte, error) {
	skip := max(size-n, 0)
	return io.ReadAll(io.NewSectionReader(r, start+skip, size-skip))
}
