package unsquash

import (
	"encoding/binary"
	"fmt"
	"io"
)

// data reads a file block by block.
type data struct {
	fs    *FS
	node  node
	sizes *meta
	at    int64 // of the next block
	left  int64
	now   []byte
}

// Read implements io.Reader.
func (d *data) Read(p []byte) (int, error) {
	for len(d.now) == 0 {
		if d.left == 0 {
			return 0, io.EOF
		}
		b, err := d.next()
		if err != nil {
			return 0, err
		}
		d.now = b
		d.left -= int64(len(b))
	}
	n := copy(p, d.now)
	d.now = d.now[n:]
	return n, nil
}

// next returns the next block, or the file's part of a fragment.
func (d *data) next() ([]byte, error) {
	want := min(d.left, d.fs.blockSize)
	if want < d.fs.blockSize && d.node.fragment != noFragment {
		b, err := d.fs.readFragment(d.node.fragment)
		from := int64(d.node.fragmentOffset)
		if err == nil && from+want > int64(len(b)) {
			err = fmt.Errorf("%w: %d bytes at %d of a fragment of %d", ErrMalformed, want, from, len(b))
		}
		if err != nil {
			return nil, err
		}
		return b[from : from+want], nil
	}
	head, err := d.sizes.bytes(4)
	if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head)
	if size == 0 { // a hole
		return make([]byte, want), nil
	}
	b, err := d.fs.block(d.at, size)
	d.at += int64(size &^ plainData)
	if err == nil && int64(len(b)) != want {
		err = fmt.Errorf("%w: a block of %d bytes, want %d", ErrMalformed, len(b), want)
	}
	return b, err
}

// block reads a block of data, whose size has a bit for how it is stored.
func (s *FS) block(at int64, size uint32) ([]byte, error) {
	plain := size&plainData != 0
	n := int64(size &^ plainData)
	if n > s.blockSize {
		return nil, fmt.Errorf("%w: a block of %d bytes", ErrMalformed, n)
	}
	b, err := s.bytes(at, n)
	if err != nil || plain {
		return b, err
	}
	if b, err = s.unpack(b, int(s.blockSize)); err != nil {
		return nil, fmt.Errorf("%w: block at %d: %w", ErrMalformed, at, err)
	}
	return b, nil
}

// readFragment reads the block in which the ends of several files lie.
func (s *FS) readFragment(i uint32) ([]byte, error) {
	if i >= s.fragmentCount {
		return nil, fmt.Errorf("%w: fragment %d of %d", ErrMalformed, i, s.fragmentCount)
	}
	head, err := s.bytes(s.fragmentTable+int64(i/fragments)*8, 8)
	if err != nil {
		return nil, err
	}
	entry, err := s.metaAt(int64(binary.LittleEndian.Uint64(head)), int(i%fragments)*16).bytes(16)
	if err != nil {
		return nil, err
	}
	at := int64(binary.LittleEndian.Uint64(entry))
	if s.fragment.data != nil && s.fragment.at == at {
		return s.fragment.data, nil
	}
	b, err := s.block(at, binary.LittleEndian.Uint32(entry[8:]))
	if err != nil {
		return nil, err
	}
	s.fragment.at, s.fragment.data = at, b
	return b, nil
}
