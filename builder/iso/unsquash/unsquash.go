// Package unsquash reads squashfs 4.0 images, the file systems of live systems.
//
// [Open] takes an image, [FS.List] lists a folder, and [FS.Read] hands out what a file
// holds. Compression is by gzip, xz (with the filter for x86), zstd, lz4 or lzma; lzo
// is not read. What contradicts itself is an error that wraps [ErrMalformed], and no
// more memory is taken than a block and a cache of 16 MiB have. Symbolic links are
// listed and not followed; devices, owners and extended attributes are passed over.
//
// Package builder/toolbox/squashfs writes the format. It is described in the kernel's
// fs/squashfs/squashfs_fs.h.
package unsquash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

var (
	// ErrMalformed says that an image contradicts itself or the format.
	ErrMalformed = errors.New("not a squashfs that can be read")
	// ErrCompression says that an image is compressed in a way that is not known.
	ErrCompression = errors.New("unknown compression")
)

const (
	magic       = "hsqs"
	superSize   = 96
	metaSize    = 8 << 10 // of a metadata block, unpacked
	minBlock    = 4 << 10
	maxBlock    = 1 << 20 // SQUASHFS_FILE_MAX_SIZE
	maxDir      = 64 << 20
	maxCached   = 2048 // metadata blocks, of 8 KiB
	noFragment  = 1<<32 - 1
	plainMeta   = 1 << 15 // a metadata block that is stored as it is
	plainData   = 1 << 24 // the same of data
	fragments   = metaSize / 16
	maxNameSize = 256
)

// FS is an image.
type FS struct {
	r         io.ReaderAt
	size      int64
	blockSize int64
	unpack    unpacker

	inodes, dirs, fragmentTable int64
	fragmentCount               uint32
	root                        uint64
	meta                        map[int64]metaBlock
	fragment                    struct { // the last one: neighbours share it
		at   int64
		data []byte
	}
}

// metaBlock is a metadata block, unpacked.
type metaBlock struct {
	data []byte
	next int64
}

// File is a file, folder or link.
type File struct {
	Name string
	// Mode has the type and permission bits. What is neither regular file, folder
	// nor link is irregular.
	Mode fs.FileMode
	Size int64
	// Target is what a link holds.
	Target string

	node node
}

// Is tells whether bytes begin as a squashfs does.
func Is(head []byte) bool { return len(head) >= 4 && string(head[:4]) == magic }

// Open reads the superblock of an image of size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, superSize)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	le := binary.LittleEndian
	s := &FS{
		r: r, size: size, blockSize: int64(le.Uint32(b[12:])), fragmentCount: le.Uint32(b[16:]),
		root: le.Uint64(b[32:]), inodes: int64(le.Uint64(b[64:])), dirs: int64(le.Uint64(b[72:])), fragmentTable: int64(le.Uint64(b[80:])),
		meta: map[int64]metaBlock{},
	}
	used := int64(le.Uint64(b[40:]))
	switch {
	case !Is(b) || le.Uint16(b[28:]) != 4 || le.Uint16(b[30:]) != 0:
		return nil, fmt.Errorf("%w: no superblock of version 4.0", ErrMalformed)
	case s.blockSize < minBlock || s.blockSize > maxBlock || s.blockSize&(s.blockSize-1) != 0:
		return nil, fmt.Errorf("%w: blocks of %d bytes", ErrMalformed, s.blockSize)
	case used < superSize || used > size:
		return nil, fmt.Errorf("%w: %d bytes used of %d", ErrMalformed, used, size)
	}
	s.size = used
	var err error
	s.unpack, err = unpackerFor(le.Uint16(b[20:]))
	return s, err
}

// Root returns the root folder.
func (s *FS) Root() (File, error) {
	n, err := s.readNode(s.inodes, s.root)
	if err != nil {
		return File{}, err
	}
	return n.file("/"), nil
}

// Child returns what is called name in a folder; what is not there is an error that
// wraps [fs.ErrNotExist].
func (s *FS) Child(dir File, name string) (File, error) {
	all, err := s.List(dir)
	if err != nil {
		return File{}, err
	}
	for _, f := range all {
		if f.Name == name {
			return f, nil
		}
	}
	return File{}, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
}

// List returns what lies in a folder, sorted by name.
func (s *FS) List(dir File) ([]File, error) {
	if !dir.Mode.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: dir.Name, Err: errors.New("not a folder")}
	}
	if dir.Size < 3 { // "." and ".." count three bytes
		return nil, nil
	}
	if dir.Size > maxDir {
		return nil, fmt.Errorf("%w: a folder of %d bytes", ErrMalformed, dir.Size)
	}
	m := s.metaAt(s.dirs+int64(dir.node.start), dir.node.offset)
	var all []File
	for left := dir.Size - 3; left > 0; {
		head, err := m.bytes(12)
		if err != nil {
			return nil, err
		}
		left -= 12
		le := binary.LittleEndian
		count, start := le.Uint32(head)+1, le.Uint32(head[4:])
		if count > 256 {
			return nil, fmt.Errorf("%w: %d names behind one header", ErrMalformed, count)
		}
		for range count {
			f, n, err := s.entry(m, start)
			if err != nil {
				return nil, err
			}
			left -= n
			all = append(all, f)
		}
	}
	return all, nil
}

// entry reads one name of a folder, and tells how many bytes it took.
func (s *FS) entry(m *meta, start uint32) (File, int64, error) {
	b, err := m.bytes(8)
	if err != nil {
		return File{}, 0, err
	}
	le := binary.LittleEndian
	offset, n := le.Uint16(b), int(le.Uint16(b[6:]))+1
	if n > maxNameSize {
		return File{}, 0, fmt.Errorf("%w: a name of %d bytes", ErrMalformed, n)
	}
	name, err := m.bytes(n)
	if err != nil {
		return File{}, 0, err
	}
	node, err := s.readNode(s.inodes, uint64(start)<<16|uint64(offset))
	if err != nil {
		return File{}, 0, err
	}
	return node.file(string(name)), int64(8 + n), nil
}

// Read returns a reader of a regular file.
func (s *FS) Read(f File) (io.Reader, error) {
	if !f.Mode.IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: f.Name, Err: errors.New("not a regular file")}
	}
	return &data{fs: s, node: f.node, left: f.Size, at: int64(f.node.blocksAt), sizes: f.node.sizes()}, nil
}
