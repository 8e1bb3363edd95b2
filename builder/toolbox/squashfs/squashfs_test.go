package squashfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/toolbox/squashfs"
)

var epoch = time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC)

// file is an entry that holds data.
func file(path string, mode fs.FileMode, data []byte) squashfs.Entry {
	return squashfs.Entry{Path: path, Mode: mode, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// words is text of n bytes that can be compressed, and differs by seed.
func words(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%x ", r.IntN(5000))
	}
	return b.Bytes()[:n]
}

// noise is n bytes that cannot be compressed.
func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sample has every kind of entry, and sizes around those of blocks.
func sample(block int) []squashfs.Entry {
	all := []squashfs.Entry{
		{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "empty", Mode: fs.ModeDir | 0o700},
		{Path: "bin", Mode: fs.ModeSymlink | 0o777, Target: "usr/bin"},
		{Path: "etc/dangling", Mode: fs.ModeSymlink | 0o777, Target: "../" + strings.Repeat("far/", 900)},
		file("etc/nothing", 0o644, nil),
		file("usr/bin/tool", 0o755, words(block/3, 9)),
		{Path: "usr/bin/tool2", Mode: 0o755, Link: "usr/bin/tool"},
		{Path: "a/first", Mode: 0o755, Link: "usr/bin/tool"},
		file("usr/bin/same", 0o600, words(block/3, 9)),
		file("usr/bin/same-large", 0o600, words(2*block+17, 3)),
		file("usr/bin/\xc3\xa4 b", 0o640, []byte("x")),
	}
	for i, size := range []int{1, block - 1, block, block + 1, 2*block + 17, 5 * block} {
		all = append(all, file(fmt.Sprintf("data/words%d", i), 0o644, words(size, uint64(i-1))), file(fmt.Sprintf("data/noise%d", i), 0o444, noise(size, uint64(i))))
	}
	for i := range 1200 { // more than one block of a listing, and of inodes
		all = append(all, file(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("n", i%90)), 0o644, words(i%300, uint64(i))))
	}
	return append(all, file("many/"+strings.Repeat("l", 255), 0o644, []byte("long")))
}

// write returns the image of entries.
func write(t testing.TB, entries []squashfs.Entry, block int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := squashfs.Write(&out, entries, squashfs.Options{Epoch: epoch, Block: block}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// want describes entries as [found] does.
func want(t *testing.T, entries []squashfs.Entry) map[string]string {
	t.Helper()
	all := map[string]string{}
	content := map[string]string{}
	for _, e := range entries {
		text := ""
		switch {
		case e.Mode&fs.ModeSymlink != 0:
			text = e.Target
		case e.Mode.IsRegular() && e.Link == "":
			r, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			text = fmt.Sprintf("%x", sha256.Sum256(data))
			content[e.Path] = text
		}
		all[e.Path] = fmt.Sprint(e.Mode, " ", text)
	}
	for _, e := range entries {
		if e.Link != "" {
			all[e.Path] = fmt.Sprint(e.Mode, " ", content[e.Link])
		}
	}
	for p := range all {
		for dir := filepath.Dir(p); dir != "."; dir = filepath.Dir(dir) {
			if all[dir] == "" {
				all[dir] = fmt.Sprint(fs.ModeDir|0o755, " ")
			}
		}
	}
	return all
}

// found describes what lies below a folder, and makes sure of the times.
func found(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.ModTime().Equal(epoch) {
			t.Errorf("%s: time %v", rel, info.ModTime())
		}
		text := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			text, err = os.Readlink(path)
		case info.Mode().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			text = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		all[rel] = fmt.Sprint(info.Mode(), " ", text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unsquash extracts an image with the tool that everybody uses.
func unsquash(t *testing.T, image []byte) (dir, stat string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command("unsquashfs", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("unsquashfs %q (Debian package squashfs-tools): %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("-no-progress", "-strict-errors", "-d", "root", path)
	return filepath.Join(dir, "root"), run("-s", path)
}

// TestUnsquashfs is the oracle: squashfs-tools finds what was put in.
func TestUnsquashfs(t *testing.T) {
	for _, block := range []int{squashfs.MinBlock, 128 << 10, squashfs.MaxBlock} {
		entries := sample(block)
		root, stat := unsquash(t, write(t, entries, block))
		if diff := cmp.Diff(want(t, entries), found(t, root)); diff != "" {
			t.Errorf("block %d: %s", block, diff)
		}
		for _, part := range []string{"Compression zstd", "Xattrs are not stored", fmt.Sprint("Block size ", block), "Number of ids 1"} {
			if !strings.Contains(stat, part) {
				t.Errorf("block %d: unsquashfs does not say %q:\n%s", block, part, stat)
			}
		}
		tool, err1 := os.Stat(filepath.Join(root, "usr/bin/tool"))
		first, err2 := os.Stat(filepath.Join(root, "a/first"))
		if err := errors.Join(err1, err2); err != nil || !os.SameFile(tool, first) {
			t.Errorf("block %d: the hard link is a copy (%v)", block, err)
		}
	}
}

// TestReproducible: neither the number of cores nor the order of entries nor
// what was written before makes a difference.
func TestReproducible(t *testing.T) {
	entries := sample(squashfs.MinBlock)
	first := write(t, entries, squashfs.MinBlock)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, cores := range []int{1, 3} {
		runtime.GOMAXPROCS(cores)
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		if !bytes.Equal(first, write(t, entries, squashfs.MinBlock)) {
			t.Errorf("other bytes with %d cores", cores)
		}
	}
}

// TestEqualFilesAreStoredOnce also where one is longer than a block.
func TestEqualFilesAreStoredOnce(t *testing.T) {
	data := noise(3<<20, 1)
	one := len(write(t, []squashfs.Entry{file("a", 0o644, data)}, 128<<10))
	two := len(write(t, []squashfs.Entry{file("a", 0o644, data), file("b/c", 0o755, data)}, 128<<10))
	if two > one+4096 {
		t.Errorf("%d bytes with one file, %d with the same twice", one, two)
	}
}

// TestRefusals: what cannot be written is refused, and named.
func TestRefusals(t *testing.T) {
	bad := file("x", 0o644, []byte("abc"))
	short, long := bad, bad
	short.Size, long.Size = 4, 2
	broken := bad
	broken.Open = func() (io.ReadCloser, error) { return nil, fs.ErrPermission }
	for name, test := range map[string]struct {
		entries []squashfs.Entry
		want    error
	}{
		"absolute":      {[]squashfs.Entry{file("/x", 0o644, nil)}, squashfs.ErrEntry},
		"climbs":        {[]squashfs.Entry{file("../x", 0o644, nil)}, squashfs.ErrEntry},
		"twice":         {[]squashfs.Entry{bad, bad}, squashfs.ErrEntry},
		"below a file":  {[]squashfs.Entry{bad, file("x/y", 0o644, nil)}, squashfs.ErrEntry},
		"device":        {[]squashfs.Entry{{Path: "x", Mode: fs.ModeDevice | 0o600}}, squashfs.ErrEntry},
		"no target":     {[]squashfs.Entry{{Path: "x", Mode: fs.ModeSymlink | 0o777}}, squashfs.ErrEntry},
		"lost link":     {[]squashfs.Entry{{Path: "x", Mode: 0o644, Link: "y"}}, squashfs.ErrEntry},
		"too short":     {[]squashfs.Entry{short}, io.ErrUnexpectedEOF},
		"too long":      {[]squashfs.Entry{long}, squashfs.ErrEntry},
		"unreadable":    {[]squashfs.Entry{broken}, fs.ErrPermission},
		"name too long": {[]squashfs.Entry{file(strings.Repeat("x", 257), 0o644, nil)}, squashfs.ErrEntry},
	} {
		err := squashfs.Write(io.Discard, test.entries, squashfs.Options{Epoch: epoch, Block: 128 << 10})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if err := squashfs.Write(io.Discard, nil, squashfs.Options{Epoch: epoch, Block: 3000}); err == nil {
		t.Error("a block of 3000 bytes was accepted")
	}
}
