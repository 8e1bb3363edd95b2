// Package burn writes an image to a disk at the operator's desk, where a slip costs
// the desk's own disk.
//
// [Find] looks a device up and refuses what must not be written, whoever asks for
// it. [Target.Confirm] says what an operator must type before the rest of the world
// is. [Load] reads an image once and makes an index of it, by which [Image.Write]
// writes it and reads it back: package flash does that. [Image.AddData] adds a
// partition that people can write.
//
// The package promises that a disk with anything mounted from it, used for swap or
// held by a mapping is never written, and that no two disks are confirmed by the
// same word unless they say the same of themselves.
package burn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/expand"
	"github.com/farboot/farboot/payload/flash/table"
)

var (
	// ErrDevice: the device is none that an image can be written to.
	ErrDevice = errors.New("not a whole disk")
	// ErrSystem: the disk belongs to the system that runs here.
	ErrSystem = errors.New("disk is in use here")
)

// Target is what is to be written.
type Target struct {
	disks.Disk
	// File is a regular file in the place of a disk.
	File bool
}

// Find looks up a device by the path that an operator gave, which may be a link. A
// regular file is found where files is set.
func Find(sys, proc fs.FS, path string, files bool) (Target, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Target{}, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return Target{}, err
	}
	switch {
	case info.Mode().IsRegular() && files:
		return Target{File: true, Disk: disks.Disk{Name: filepath.Base(real), Node: real, Size: info.Size(), Model: "a file"}}, nil
	case info.Mode().IsRegular():
		return Target{}, fmt.Errorf("%s: %w: it is a file", path, ErrDevice)
	}
	return find(sys, proc, path, real)
}

// find looks up a device node.
func find(sys, proc fs.FS, path, real string) (Target, error) {
	all, err := disks.List(sys, proc, "")
	if err != nil {
		return Target{}, err
	}
	name := filepath.Base(real)
	for _, d := range all {
		switch bar := d.Bar(); {
		case slices.Contains(d.Partitions, name):
			return Target{}, fmt.Errorf("%s: %w: it is a partition of %s", path, ErrDevice, d.Node)
		case d.Name != name || filepath.Dir(real) != "/dev":
		case bar != "":
			return Target{}, fmt.Errorf("%w: %s (%s)", ErrSystem, d, bar)
		default:
			return Target{Disk: d}, nil
		}
	}
	return Target{}, fmt.Errorf("%s: %w", path, ErrDevice)
}

// External tells whether the disk can be pulled out: a stick, a card, anything on
// USB. Others are most likely what some system lives on.
func (t Target) External() bool { return t.Removable || t.Bus == "usb" }

// Confirm is the word by which an operator says that this disk is meant: its serial
// number, or where it has none another thing that it is known by, or its size in
// bytes. Nobody types that by accident, and a script that holds it fails where
// another disk has taken the name.
func (t Target) Confirm() string {
	if t.Serial != "" {
		return t.Serial
	}
	if len(t.IDs) > 0 {
		return t.IDs[0]
	}
	return strconv.FormatInt(t.Size, 10)
}

// Image is the file of an image.
type Image struct {
	Path, Format string
	Index        *caibx.Index

	file int64  // bytes, as it is compressed
	head []byte // the first MiB, or all
}

// Load reads an image to its end. progress is told how much of the file is read.
func Load(ctx context.Context, path string, progress func(done, total int64)) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file", path)
	}
	m := &Image{Path: path, file: info.Size()}
	if m.Format, err = format(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	stream, err := expand.Reader(&counted{ctx: ctx, r: f, tell: func(n int64) { progress(n, m.file) }}, m.Format)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer stream.Close()
	if m.head, err = io.ReadAll(io.LimitReader(stream, table.Head)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Index, err = caibx.Make(io.MultiReader(bytes.NewReader(m.head), stream), caibx.DefaultChunk); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// format tells by its first bytes how a file is compressed.
func format(f io.ReaderAt) (string, error) {
	head := make([]byte, 6)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	for format, magic := range map[string]string{"xz": "\xfd7zXZ\x00", "zst": "\x28\xb5\x2f\xfd", "gz": "\x1f\x8b\x08"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return format, nil
		}
	}
	return "", nil
}

// counted tells how much was read of a file.
type counted struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}

// Write writes the image to a disk and reads it back.
func (m *Image) Write(ctx context.Context, t Target, progress func(flash.Progress), log func(format string, args ...any)) (flash.Result, error) {
	d, err := flash.Open(t.Node)
	if err != nil {
		return flash.Result{}, err
	}
	if d.Size() != t.Size && !t.File {
		return flash.Result{}, errors.Join(fmt.Errorf("%s: %w any more: it has %d bytes, and had %d", t.Node, ErrDevice, d.Size(), t.Size), d.Close())
	}
	result, err := flash.Run(ctx, d, flash.Job{
		Index: m.Index, Format: m.Format, Source: &source{path: m.Path}, Plain: true, Progress: progress, Log: log,
	})
	if err = errors.Join(err, d.Close()); err != nil {
		return flash.Result{}, err
	}
	return result, nil
}

// source is the image's file.
type source struct{ path string }

// Open implements flash.Source.
func (s *source) Open(_ context.Context, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Wrong implements flash.Source: the file has changed since it was read, and there
// is no other.
func (s *source) Wrong(error) bool { return false }

// Describe says what is on a disk, for a person who is about to lose it.
func (t Target) Describe() string {
	switch n := len(t.Partitions); n {
	case 0:
		return t.String() + ", no partitions"
	default:
		return fmt.Sprintf("%s, %d partitions (%s)", t, n, strings.Join(t.Partitions, " "))
	}
}
