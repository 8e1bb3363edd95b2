package boot

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// castable is an image as a seekable file, and the table of that.
func castable(t *testing.T) (file, table []byte) {
	t.Helper()
	x, err := caibx.Make(bytes.NewReader(system), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var lens chunks.Table
	for i, c := range x.Chunks {
		packed := e.EncodeAll(system[x.Start(i):c.End], nil)
		file, lens = append(file, packed...), append(lens, int64(len(packed)))
	}
	if table, err = lens.Encode(x); err != nil {
		t.Fatal(err)
	}
	return append(file, table...), table
}

// castLab is a machine whose image may be cast, with a seek table of the site's.
func castLab(t *testing.T, table func([]byte) []byte) *simLab {
	t.Helper()
	file, good := castable(t)
	had := table(good)
	l, s := flashed(t, manifest.Flash{Image: object.OfBytes(file), Format: "zst", Cast: &manifest.Cast{Group: "239.255.0.1:7400", Table: object.OfBytes(had)}})
	s.put(object.OfBytes(file).Path(), file)
	s.put(object.OfBytes(had).Path(), had)
	return l
}

// A machine that cannot join the group takes the image by HTTP alone, and says so.
func TestCastWithoutGroup(t *testing.T) {
	l := castLab(t, func(good []byte) []byte { return good })
	l.flash = func(_ context.Context, job flash.Job) (flash.Result, error) {
		if job.Receive != nil || job.Format != "zst" {
			t.Errorf("job %+v", job)
		}
		return flash.Result{Written: 1}, nil
	}
	if err := l.run(t); err != nil || fmt.Sprint(l.flashed) != "[/dev/sda]" {
		t.Errorf("%v, wrote %q", err, l.flashed)
	}
	if all := strings.Join(l.lines, "\n"); !strings.Contains(all, "flash: cast 239.255.0.1:7400: no network card has the address 10.0.2.15; the image comes by HTTP alone") {
		t.Error(all)
	}
}

// A seek table that is not the image's ends the entry before a disk is touched.
func TestCastBadTable(t *testing.T) {
	for name, table := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"another": func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:]...) },
		"longer":  func(b []byte) []byte { b = bytes.Clone(b); b[8]++; return b },
	} {
		l := castLab(t, table)
		if err := l.run(t); err == nil && len(l.flashed) > 0 {
			t.Errorf("%s: wrote %q", name, l.flashed)
		}
		if all := strings.Join(l.lines, "\n"); !strings.Contains(all, "[bad-image]") {
			t.Errorf("%s:\n%s", name, all)
		}
	}
}
