package flash

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/expand"
	"github.com/farboot/farboot/payload/flash/table"
)

// TestFaults lets the disk fail in all its ways, each of which has a name and
// leaves nothing that boots.
func TestFaults(t *testing.T) {
	image := newImage(t, 1)
	for _, test := range []struct {
		name  string
		fault func(*medium)
		want  error
		text  string
	}{
		{"full", func(m *medium) { m.fail = map[int64]error{5 << 20: unix.ENOSPC} }, unix.ENOSPC, "write at byte 5242880"},
		{"broken", func(m *medium) { m.fail = map[int64]error{3<<20 + 5: unix.EIO} }, unix.EIO, "write at byte 3145728"},
		{"broken at its end", func(m *medium) { m.fail = map[int64]error{diskSize - 1: unix.EIO} }, unix.EIO, ""},
		{"unreadable", func(m *medium) { m.reads = map[int64]error{5 << 20: unix.EIO} }, ErrReadBack, "read at byte 5242880"},
		{"fake", func(m *medium) { m.wrap = 5 << 20 }, ErrFake, "has come to byte 0"},
		{"fake, by one chunk", func(m *medium) { m.wrap = imageSize - chunk }, ErrFake, ""},
		{"fake, where the image is empty", func(m *medium) { m.wrap = 4<<20 + chunk }, ErrFake, ""},
		{"fake, the end over the middle", func(m *medium) { m.wrap = 11 << 20 }, ErrFake, ""},
		{"fake, the end over the beginning", func(m *medium) { m.wrap = 15 << 20 }, ErrFake, ""},
		{"fake, nothing above", func(m *medium) { m.lose = 5 << 20 }, ErrReadBack, "less room than it says"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMedium(t)
			old := bytes.Clone(m.data)
			test.fault(m)
			_, err := Run(t.Context(), m, job(t, image, "zst"))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "/dev/medium") {
				t.Errorf("Run = %v; want %v with %q", err, test.want, test.text)
			}
			if !bytes.Equal(m.data[:512], make([]byte, 512)) && !bytes.Equal(m.data, old) {
				t.Error("the disk looks like a system")
			}
			if m.wrap > 0 || m.lose > 0 {
				return
			}
			m.fail, m.reads = nil, nil
			if _, err := Run(t.Context(), m, job(t, image, "zst")); err != nil {
				t.Fatal(err)
			}
			wantDisk(t, m, old, image)
		})
	}
}

// TestRefuses wants what cannot work to leave the disk as it is.
func TestRefuses(t *testing.T) {
	image := newImage(t, 1)
	bare := bytes.Clone(image)
	bare[511] = 0
	unknowable := noise(5, imageSize) // no room, no ID
	clear(unknowable[440:510])
	copy(unknowable[510:], "\x55\xaa")
	broken := bytes.Clone(image)
	broken[600] ^= 1
	for name, test := range map[string]struct {
		m    *medium
		job  Job
		want error
	}{
		"small disk":       {&medium{t: t, data: make([]byte, imageSize-512)}, job(t, image, ""), disks.ErrTooSmall},
		"small image":      {newMedium(t), job(t, image[:1000], ""), ErrImage},
		"no boot sector":   {newMedium(t), job(t, bare, ""), ErrImage},
		"cannot be known":  {newMedium(t), job(t, unknowable, ""), ErrImage},
		"broken table":     {newMedium(t), job(t, broken, ""), table.ErrTable},
		"unknown format":   {newMedium(t), Job{Index: index(t, image), Format: "rar", Source: &servers{files: [][]byte{image}}}, expand.ErrFormat},
		"chunks too large": {newMedium(t), Job{Index: &caibx.Index{Min: 8 << 20, Avg: 8 << 20, Max: 8 << 20, Chunks: []caibx.Chunk{{End: imageSize}}}}, ErrImage},
		"odd chunks":       {newMedium(t), Job{Index: &caibx.Index{Min: 1, Avg: 1 << 20, Max: 4 << 20, Chunks: []caibx.Chunk{{End: 1000001}, {End: 2000000}}}}, ErrImage},
	} {
		if _, err := Run(t.Context(), test.m, test.job); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
		if len(test.m.log) > 0 {
			t.Errorf("%s: the disk was touched", name)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errIO)
	if _, err := Run(ctx, newMedium(t), job(t, image, "zst")); !errors.Is(err, errIO) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestPlain wants the image as it is, be it one that nothing boots, and again.
func TestPlain(t *testing.T) {
	bare := noise(9, imageSize)
	for name, image := range map[string][]byte{"disk": newImage(t, 1), "no table": bare} {
		m := newMedium(t)
		old := bytes.Clone(m.data)
		want := bytes.Clone(old)
		clear(want[diskSize-1<<20:])
		copy(want, image)
		for range 2 {
			j := job(t, image, "")
			j.Plain = true
			if _, err := Run(t.Context(), m, j); err != nil {
				t.Fatal(err)
			}
			if at := differ(m.data, want); at >= 0 {
				t.Errorf("%s: the disk differs at byte %d", name, at)
			}
		}
	}
}

// TestCheckImage is what a publisher asks.
func TestCheckImage(t *testing.T) {
	image := newImage(t, 1)
	if err := CheckImage(image[:table.Head]); err != nil {
		t.Error(err)
	}
	if err := CheckImage(image[:1000]); !errors.Is(err, ErrImage) {
		t.Errorf("a piece: %v", err)
	}
}
