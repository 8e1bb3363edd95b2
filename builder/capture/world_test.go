package capture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// tool runs a program of the given Debian package, which may be in sbin.
func tool(t testing.TB, pkg, name string, args ...string) string {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/" + name); err == nil {
		name = "/usr/sbin/" + name
	}
	return oracle.Output(t, oracle.Tool(t, name, pkg), args...)
}

// noise makes a file of so many bytes that are not zeros: a disk that was used before.
func noise(t testing.TB, path string, size int) {
	t.Helper()
	row := oracle.Random(1, 1<<20)
	for i := range row {
		row[i] |= 1
	}
	if err := os.WriteFile(path, bytes.Repeat(row, size>>20), 0o600); err != nil {
		t.Fatal(err)
	}
}

// system makes a file system of so many MiB in a file full of noise, with a tree of files,
// of which some are deleted again.
func system(t testing.TB, path string, mib int, options ...string) {
	t.Helper()
	tree := t.TempDir()
	for i := range 40 {
		dir := filepath.Join(tree, fmt.Sprint("dir", i%5))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), oracle.Random(uint64(i), i*i*200), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	noise(t, path, mib<<20)
	tool(t, "e2fsprogs", "mke2fs", append([]string{"-q", "-F", "-E", "nodiscard", "-d", tree}, append(options, path)...)...)
	for i := range 10 {
		tool(t, "e2fsprogs", "debugfs", "-w", "-R", fmt.Sprintf("rm /dir%d/%d", (i+30)%5, i+30), path)
	}
	checkSystem(t, path)
}

// checkSystem asks the file system's own tool.
func checkSystem(t testing.TB, path string) {
	t.Helper()
	tool(t, "e2fsprogs", "e2fsck", "-f", "-n", path)
}

// files unpacks a file system into a folder.
func files(t testing.TB, path string) string {
	t.Helper()
	dir := t.TempDir()
	tool(t, "e2fsprogs", "debugfs", "-R", "rdump / "+dir, path)
	return dir
}

// capture captures a disk and returns its plan and what the image holds, as zstd unpacks
// it.
func captured(t testing.TB, path string) (*Plan, []byte, Result) {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return capturedFrom(t, d)
}

func capturedFrom(t testing.TB, d *Disk) (*Plan, []byte, Result) {
	t.Helper()
	plan, err := NewPlan(d)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "new", "image")
	r, err := Write(t.Context(), d, plan, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "zstd", "zstd", "-q", "-d", r.Image, "-o", name)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return plan, data, r
}

// compare wants zeros in what is free and the disk's bytes elsewhere.
func compare(t testing.TB, p *Plan, disk, image []byte) {
	t.Helper()
	want := bytes.Clone(disk)
	for _, e := range p.free {
		clear(want[e.start:e.end])
	}
	if !bytes.Equal(want, image) {
		t.Errorf("the image has %d bytes and differs from the disk, of %d, where it should not", len(image), len(disk))
	}
}

// whys joins what keeps a plan from passing over free space.
func (p *Plan) whys() string {
	var all []string
	for _, part := range p.Parts {
		if part.Why != "" {
			all = append(all, part.Why)
		}
	}
	return strings.Join(all, "; ")
}
