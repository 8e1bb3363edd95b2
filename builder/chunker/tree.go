package chunker

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// staging is the folder, in the tree, where files grow. No server should hand out
// names that begin with a dot.
const staging = ".staging"

// Added is what was new to a tree.
type Added struct {
	Chunks int
	Bytes  int64
}

// Tree makes sure that the .castr tree in the folder dir, which is made if need be,
// has the chunks of the image r, of index x, for every web server to read. What is
// there already is read, and replaced if it is not right. Each file appears whole or
// not at all; when Tree returns, all of them are on the disk. One Tree at a time may
// work on a folder.
func Tree(ctx context.Context, dir string, r io.Reader, x *caibx.Index) (Added, error) {
	workers := runtime.GOMAXPROCS(0)
	e, err := newEncoder(workers)
	if err != nil {
		return Added{}, err
	}
	defer e.Close()
	for _, d := range []string{dir, filepath.Join(dir, staging)} {
		if err := folder(d); err != nil {
			return Added{}, err
		}
	}
	defer os.RemoveAll(filepath.Join(dir, staging))
	var added Added
	u := chunks.NewUnpacker(workers)
	err = inOrder(ctx, r, x, workers, func(id object.ID, data []byte) ([]byte, error) {
		err := Check(u, dir, id, int64(len(data)))
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, chunks.ErrWrong) {
			return nil, err
		}
		packed := e.EncodeAll(data, nil)
		return packed, put(dir, id, packed)
	}, func(packed []byte) error {
		if packed != nil {
			added.Chunks++
			added.Bytes += int64(len(packed))
		}
		return nil
	})
	if err != nil {
		return Added{}, err
	}
	return added, sync(dir)
}

// Check reads a chunk of n bytes from a tree. Its errors wrap those of the file, or
// [chunks.ErrWrong].
func Check(u *chunks.Unpacker, dir string, id object.ID, n int64) error {
	packed, err := os.ReadFile(filepath.Join(dir, chunks.ChunkPath(id)))
	if err != nil {
		return err
	}
	_, err = u.Unpack(packed, id, n)
	return err
}

// put writes a chunk. It is not synced: [Tree] does that once for all, since a
// thousand times would take longer than the packing.
func put(dir string, id object.ID, packed []byte) error {
	name := filepath.Join(dir, chunks.ChunkPath(id))
	if err := folder(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(dir, staging), "chunk-*")
	if err != nil {
		return err
	}
	_, err = f.Write(packed)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// folder makes a folder that web servers can read, whatever the umask.
func folder(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// sync returns when all that was written to the file system of dir is on the disk.
func sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
