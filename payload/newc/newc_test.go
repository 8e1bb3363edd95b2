package newc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample has each kind, and sizes of all remainders.
func sample() []File {
	text := func(name, content string) File {
		return File{Name: name, Mode: Regular | 0o755, Size: int64(len(content)), Content: strings.NewReader(content)}
	}
	return []File{
		{Name: "farboot", Mode: Dir | 0o755},
		text("farboot/a", ""), text("farboot/ab", "1"), text("farboot/abc", "12"), text("farboot/abcd", "123"), text("farboot/abcde", "1234"),
		{Name: "farboot/link", Mode: Symlink | 0o777, Size: 4, Content: strings.NewReader("abcd")},
	}
}

// TestCpioAgrees: cpio(1) unpacks what Write writes, and Size has said how much.
func TestCpioAgrees(t *testing.T) {
	var out bytes.Buffer
	if err := Write(&out, sample()); err != nil || int64(out.Len()) != Size(sample()) {
		t.Fatalf("%d bytes, %v; want %d", out.Len(), err, Size(sample()))
	}
	tool, err := exec.LookPath("cpio")
	if err != nil {
		t.Fatal("cpio is missing (Debian package cpio)")
	}
	dir := t.TempDir()
	cmd := exec.Command(tool, "--extract", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &out
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for name, want := range map[string]string{"a": "", "ab": "1", "abc": "12", "abcd": "123", "abcde": "1234", "link": "123"} {
		if got, err := os.ReadFile(filepath.Join(dir, "farboot", name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "farboot/ab")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
}

// entry is a File that was read.
type entry struct {
	Name    string
	Mode    uint32
	Content string
}

// read returns what an archive holds.
func read(r io.Reader) (all []entry, err error) {
	err = Read(r, func(f File) error {
		data, err := io.ReadAll(f.Content)
		all = append(all, entry{f.Name, f.Mode, string(data)})
		return err
	})
	return all, err
}

// TestReadsCpio: Read reads what cpio(1) made of a folder, and leaves what follows.
func TestReadsCpio(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.ko"), []byte("module"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "--create", "--quiet", "--format=newc")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader("./x.ko\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(bytes.NewReader(out))
	if diff := cmp.Diff([]entry{{"x.ko", Regular | 0o600, "module"}}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestReadRefuses(t *testing.T) {
	var good bytes.Buffer
	if err := Write(&good, sample()); err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"nothing":    nil,
		"no archive": bytes.Repeat([]byte("x"), 200),
		"cut":        good.Bytes()[:good.Len()/2],
		"outside":    bytes.Replace(good.Bytes(), []byte("farboot/ab\x00"), []byte("../../../x\x00"), 1),
		"no number":  bytes.Replace(good.Bytes(), []byte("0707010000"), []byte("070701zzzz"), 1),
	}
	for name, data := range bad {
		if _, err := read(bytes.NewReader(data)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range []File{{Name: "/init"}, {Name: "a/../b"}, {Name: "big", Size: 1 << 33}, {Name: "less", Size: 2, Content: strings.NewReader("1")}} {
		if err := Write(io.Discard, []File{f}); err == nil {
			t.Errorf("%q is written", f.Name)
		}
	}
}

func FuzzRead(f *testing.F) {
	var good bytes.Buffer
	if err := Write(&good, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:300])
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again []File
		for _, e := range all {
			if e.Name == "." {
				return
			}
			again = append(again, File{Name: e.Name, Mode: e.Mode, Size: int64(len(e.Content)), Content: strings.NewReader(e.Content)})
		}
		var out bytes.Buffer
		if err := Write(&out, again); err != nil {
			t.Fatal(err)
		}
		if back, err := read(&out); err != nil || cmp.Diff(all, back) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(all, back))
		}
	})
}
