package burn

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/table"
	"github.com/farboot/farboot/payload/state"
)

const (
	// minData is the least room for a partition for data, in bytes: FAT32 begins at
	// 65525 clusters.
	minData = 64 << 20
	// maxData is the most: the tables of a larger one take minutes to write on a slow
	// stick, and nobody carries that much around.
	maxData = 256 << 30
)

// ErrData: there can be no partition for data on this disk.
var ErrData = errors.New("no partition for data")

// basicData is Microsoft's type for file systems that every computer shows, as it
// lies on a disk: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7.
var basicData = [16]byte{0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7}

// plan returns the table of a disk that has the image and a partition behind it. It
// writes nothing.
func (m *Image) plan(size int64, sector int) (*table.Table, table.Partition, error) {
	t, err := table.Parse(m.head, sector)
	if err != nil {
		return nil, table.Partition{}, fmt.Errorf("%w: %w", ErrData, err)
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, table.Partition{}, err
	}
	random[7], random[8] = random[7]&0x0f|0x40, random[8]&0x3f|0x80 // version 4 (RFC 9562)
	p, err := t.Add(size, m.Index.Size(), table.New{Type: basicData, GUID: random, Name: state.DataName, Most: maxData})
	switch {
	case err != nil:
		return nil, table.Partition{}, fmt.Errorf("%w: %w", ErrData, err)
	case p.Size < minData:
		return nil, table.Partition{}, fmt.Errorf("%w: %d MiB are left behind the image, want %d", ErrData, p.Size>>20, minData>>20)
	}
	return t, p, nil
}

// CheckData tells why a disk cannot have the image with a partition for data behind
// it, before anything is written.
func (m *Image) CheckData(t Target) error {
	f, err := os.Open(t.Node)
	if err != nil {
		return err
	}
	defer f.Close()
	sector, err := t.sector(f)
	if err != nil {
		return err
	}
	_, _, err = m.plan(t.Size, sector)
	return err
}

// sector is how large the disk's sectors are, in bytes. A file has none.
func (t Target) sector(f *os.File) (int, error) {
	if t.File {
		return 512, nil
	}
	return unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
}

// AddData puts an empty FAT32 file system behind the image on a disk that [Image.Write]
// has written: for networks.json and the like, which every computer can write. The
// table changes last, so that a power cut leaves the image as it is. It returns the
// file system's size in bytes.
func (m *Image) AddData(ctx context.Context, t Target) (size int64, err error) {
	flags := os.O_RDWR
	if !t.File {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(t.Node, flags, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sector, err := t.sector(f)
	if err != nil {
		return 0, err
	}
	tab, p, err := m.plan(t.Size, sector)
	if err != nil {
		return 0, err
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return 0, err
	}
	empty := fat32{
		start: p.Start, size: p.Size, sector: int64(sector), id: binary.LittleEndian.Uint32(id[:]),
		label: "FARBOOTDATA", folder: "FARBOOT",
	}
	d := &written{f: f, ctx: ctx}
	err = empty.write(d)
	backup, copied := tab.Backup()
	head := bytes.Clone(m.head)
	tab.Write(head)
	for _, w := range []struct {
		at   int64
		data []byte
	}{{backup, copied}, {0, head[:tab.End]}} {
		if err == nil {
			err = d.flush()
		}
		if err == nil {
			_, err = d.WriteAt(w.data, w.at)
		}
	}
	if err == nil {
		err = d.flush()
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrData, t.Node, err)
	}
	if !t.File {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0) // who plugs it in again sees it as well
	}
	return p.Size, nil
}

// written is a disk that remembers what was written since it was flushed, to read it
// back.
type written struct {
	f      *os.File
	ctx    context.Context // AddData's
	pieces []piece
}

type piece struct {
	at   int64
	data []byte
}

// WriteAt implements io.WriterAt.
func (d *written) WriteAt(p []byte, at int64) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	n, err := d.f.WriteAt(p, at)
	if err == nil && len(bytes.Trim(p, "\x00")) > 0 {
		d.pieces = append(d.pieces, piece{at, bytes.Clone(p)})
	}
	return n, err
}

// flush brings all to the disk, and looks whether it has arrived.
func (d *written) flush() error {
	if err := d.f.Sync(); err != nil {
		return err
	}
	// What is read next comes from the disk (blkdev_flushbuf in block/ioctl.c). Files
	// do not know this.
	if err := unix.IoctlSetInt(int(d.f.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	for _, p := range d.pieces {
		got := make([]byte, len(p.data))
		if _, err := d.f.ReadAt(got, p.at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(got, p.data) {
			return fmt.Errorf("byte %d reads back other bytes than were written", p.at)
		}
	}
	d.pieces = nil
	return nil
}
