package iso9660

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/tree"
)

func TestSameTreeSameBytes(t *testing.T) {
	image, _ := write(t, awkward(t), options())
	first, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	files := awkward(t).Files()
	slices.Reverse(files)
	local := time.Local
	defer func() { time.Local = local }()
	time.Local = time.FixedZone("Tokyo", 9*3600)
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	o := options()
	o.Epoch = o.Epoch.Local().Add(999 * time.Millisecond)
	image, _ = write(t, oracle.Tree(t, files...), o)
	again, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("the same tree, added in another order and elsewhere, gives another image")
	}
}

// TestOneFileOpenAtATime counts: media with thousands of files must not meet
// the limit of open files.
func TestOneFileOpenAtATime(t *testing.T) {
	open := 0
	var files []tree.File
	for i := range 100 {
		f := tree.Bytes(fmt.Sprint(i), oracle.Random(uint64(i), i))
		content := f.Open
		f.Open = func() (io.ReadCloser, error) {
			if open++; open > 1 {
				t.Errorf("%d files are open", open)
			}
			r, err := content()
			return closer{r, func() { open-- }}, err
		}
		files = append(files, f)
	}
	write(t, oracle.Tree(t, files...), options())
	if open != 0 {
		t.Errorf("%d files are left open", open)
	}
}

// closer does one thing more on Close.
type closer struct {
	io.ReadCloser
	then func()
}

func (c closer) Close() error {
	c.then()
	return c.ReadCloser.Close()
}

func TestRefusals(t *testing.T) {
	sized := func(size int64) tree.File {
		return tree.File{Path: "dir/file", Size: size, Open: tree.Bytes("", []byte("12345")).Open}
	}
	boot := func(b ...BootImage) func(*Options) {
		return func(o *Options) { o.Boot = b }
	}
	patch := func([]byte, uint32) error { return errors.New("no room") }
	for _, c := range []struct {
		want  string
		file  tree.File
		spoil func(*Options)
	}{
		{want: `"dir/` + strings.Repeat("x", 254) + `": name of 254 bytes, Linux reads at most 253`, file: tree.Bytes("dir/"+strings.Repeat("x", 254), nil)},
		{want: `"a\nb/c": control character in the name`, file: tree.Bytes("a\nb/c", nil)},
		{want: `"dir/file": 429496524801 bytes, Linux reads at most 429496524800`, file: sized(maxExtents*maxExtent + 1)},
		{want: `"dir/file": -1 bytes`, file: sized(-1)},
		{want: `dir/file: ends after 5 of 6 bytes`, file: sized(6)},
		{want: `dir/file: more than the announced 4 bytes`, file: sized(4)},
		{want: `volume id ""`, file: sized(5), spoil: func(o *Options) { o.VolumeID = "" }},
		{want: `volume id "ä"`, file: sized(5), spoil: func(o *Options) { o.VolumeID = "ä" }},
		{want: `want 1 to 32`, file: sized(5), spoil: func(o *Options) { o.VolumeID = strings.Repeat("V", 33) }},
		{want: `want at most 128`, file: sized(5), spoil: func(o *Options) { o.Publisher = strings.Repeat("P", 129) }},
		{want: `want a year`, file: sized(5), spoil: func(o *Options) { o.Epoch = time.Time{} }},
		{want: `tail: less than nothing`, file: sized(5), spoil: func(o *Options) { o.Tail = -1 }},
		{want: `image of 8589934`, file: sized(5), spoil: func(o *Options) { o.Tail = 16 << 40 }},
		{want: `boot catalog: 33 images`, file: sized(5), spoil: boot(make([]BootImage, 33)...)},
		{want: `boot image "nowhere": not in the tree`, file: sized(5), spoil: boot(BootImage{Path: "nowhere"})},
		{want: `boot image "dir": not in the tree`, file: sized(5), spoil: boot(BootImage{Path: "dir"})},
		{want: `boot image "dir/file": empty`, file: sized(0), spoil: boot(BootImage{Path: "dir/file"})},
		{want: `at most 1048576 can be patched`, file: sized(2 << 20), spoil: boot(BootImage{Path: "dir/file", Patch: patch})},
		{want: `patched twice`, file: sized(5), spoil: boot(BootImage{Path: "dir/file", Patch: patch}, BootImage{Path: "dir/file", Patch: patch})},
		{want: `boot image "dir/file": no room`, file: sized(5), spoil: boot(BootImage{Path: "dir/file", Patch: patch})},
	} {
		o := options()
		if c.spoil != nil {
			c.spoil(&o)
		}
		m, err := New(oracle.Tree(t, c.file), o)
		if err == nil {
			_, err = m.WriteTo(io.Discard)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	xorriso := oracle.Tool(t, "xorriso", "xorriso")
	image, m := write(t, oracle.Tree(t), options())
	if log := oracle.Output(t, xorriso, "-indev", image, "-find", "/"); !strings.Contains(log, "'/'") {
		t.Errorf("xorriso does not find the root:\n%s", log)
	}
	for _, p := range []string{".", "", "nothing"} {
		if lba, ok := m.LBA(p); ok {
			t.Errorf("LBA(%q) = %d", p, lba)
		}
	}
}

// bigTree has 500 MB in 50 files on disk.
func bigTree(b *testing.B, dir string) *tree.Tree {
	b.Helper()
	var tr tree.Tree
	for i := range 50 {
		p := filepath.Join(dir, fmt.Sprintf("file%02d", i))
		if err := os.WriteFile(p, oracle.Random(uint64(i), 10<<20), 0o644); err != nil {
			b.Fatal(err)
		}
		f, err := tree.OnDisk(filepath.Base(p), p)
		if err != nil {
			b.Fatal(err)
		}
		if err := tr.Add(f); err != nil {
			b.Fatal(err)
		}
	}
	return &tr
}

func BenchmarkWrite(b *testing.B) {
	tr := bigTree(b, b.TempDir())
	b.SetBytes(500 << 20)
	for b.Loop() {
		write(b, tr, options())
	}
}

func BenchmarkXorriso(b *testing.B) {
	dir := b.TempDir()
	bigTree(b, dir)
	out := filepath.Join(b.TempDir(), "test.iso")
	b.SetBytes(500 << 20)
	for b.Loop() {
		os.Remove(out)
		if log, err := exec.Command("xorriso", "-as", "mkisofs", "-R", "-o", out, dir).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, log)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	dir := b.TempDir()
	bigTree(b, dir)
	b.SetBytes(500 << 20)
	for b.Loop() {
		if log, err := exec.Command("cp", "-r", "--reflink=never", dir, filepath.Join(b.TempDir(), "copy")).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, log)
		}
	}
}
