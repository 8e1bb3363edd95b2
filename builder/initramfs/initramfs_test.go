package initramfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/tree"
)

// need returns the path of a foreign tool that judges what we write.
func need(t testing.TB, tool, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is needed to judge the result; install the Debian package %s", tool, pkg)
	}
	return p
}

// filter runs a tool over input and returns its output.
func filter(t testing.TB, input []byte, tool, pkg string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(need(t, tool, pkg), args...)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// pack packs l and fails the test where that fails.
func pack(t testing.TB, l Layer, c Compression) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, l, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample is a layer with each type of file, unsorted.
func sample() Layer {
	files := FromTree(
		tree.Bytes("lib/modules/6.1/a-b.ko", []byte("one")),
		tree.Bytes("lib/modules/6.1/a/c.ko", nil),
		tree.Bytes("init", []byte("#!")),
		tree.Bytes("name with space\n", []byte("x")),
	)
	files[2].Mode = 0o755
	return Layer{Epoch: time.Unix(1_700_000_000, 0), Files: append(files,
		CharDevice("dev/ttyS0", 0o620, 4, 64),
		CharDevice("dev/console", 0o600, 5, 1),
		CharDevice("dev/big", 0o600, 0xabc, 0xfffff),
		Dir("root", 0o700),
		Symlink("bin", "usr/bin"),
	)}
}

func TestCpioToolListsTheLayer(t *testing.T) {
	got := string(filter(t, pack(t, sample(), None), "cpio", "cpio", "-itvn", "--quiet"))
	const date = "Nov 14  2023"
	want := strings.Join([]string{
		"lrwxrwxrwx   1 0        0               7 " + date + " bin -> usr/bin",
		"drwxr-xr-x   1 0        0               0 " + date + " dev",
		"crw-------   1 0        0        2748, 1048575 " + date + " dev/big",
		"crw-------   1 0        0          5,   1 " + date + " dev/console",
		"crw--w----   1 0        0          4,  64 " + date + " dev/ttyS0",
		"-rwxr-xr-x   1 0        0               2 " + date + " init",
		"drwxr-xr-x   1 0        0               0 " + date + " lib",
		"drwxr-xr-x   1 0        0               0 " + date + " lib/modules",
		"drwxr-xr-x   1 0        0               0 " + date + " lib/modules/6.1",
		"drwxr-xr-x   1 0        0               0 " + date + " lib/modules/6.1/a",
		"-rw-r--r--   1 0        0               3 " + date + " lib/modules/6.1/a-b.ko",
		"-rw-r--r--   1 0        0               0 " + date + " lib/modules/6.1/a/c.ko",
		"-rw-r--r--   1 0        0               1 " + date + " name with space\n",
		"drwx------   1 0        0               0 " + date + " root",
		"",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// many returns a layer of n files of about size bytes that differ and repeat,
// so that it is cut into several streams.
func many(n, size int) Layer {
	rnd := rand.New(rand.NewChaCha8([32]byte{}))
	l := Layer{}
	for i := range n {
		seed := make([]byte, 1000)
		for j := range seed {
			seed[j] = byte(rnd.Uint32())
		}
		data := bytes.Repeat(seed, size/len(seed)+1)[:size-rnd.IntN(7)]
		l.Files = append(l.Files, FromTree(tree.Bytes(fmt.Sprintf("lib/%03d", i), data))...)
	}
	return l
}

func TestForeignToolsUnpackEveryStream(t *testing.T) {
	l := many(7, partSize/5)
	if files, _ := l.entries(); len(split(files)) != 2 {
		t.Fatalf("%d parts, want 2", len(split(files)))
	}
	plain := pack(t, l, None)
	filter(t, pack(t, l, XZ), "xz", "xz-utils", "-t")
	for tool, packed := range map[string][]byte{
		"xz":   filter(t, pack(t, l, XZ), "xz", "xz-utils", "-dc"),
		"zstd": filter(t, pack(t, l, Zstd), "zstd", "zstd", "-dc"),
	} {
		if !bytes.Equal(plain, packed) {
			t.Errorf("%s: does not unpack to the uncompressed archive", tool)
		}
	}
	names, found := readBack(t, plain)
	for i, n := range names {
		if ino := found[n].Inode; ino != int64(i+1) {
			t.Errorf("%s: inode %d, want %d: the count goes on from stream to stream", n, ino, i+1)
		}
	}
	dir := t.TempDir()
	filter(t, plain, "cpio", "cpio", "-i", "--quiet", "-D", dir)
	for _, f := range l.Files {
		want, _ := tree.File{Open: f.Open, Size: f.Size}.Read()
		if got, err := os.ReadFile(filepath.Join(dir, f.Path)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: differs after cpio -i (%v)", f.Path, err)
		}
	}
}

// Programs have the filter that makes them smaller, modules have not: the number of
// filters less one stands behind the stream's header of 12 bytes and a block's size.
func TestProgramsAreFiltered(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	program = program[:200_000]
	module := slices.Clone(program)
	module[16] = 1 // ET_REL
	for filters, content := range [][]byte{module, program} {
		packed := pack(t, Layer{Files: FromTree(tree.Bytes("init", content))}, XZ)
		if got := packed[13]; got != byte(filters) {
			t.Errorf("%d further filters, want %d", got, filters)
		}
		if !bytes.Contains(filter(t, packed, "xz", "xz-utils", "-dc"), content) {
			t.Error("xz unpacks something else")
		}
	}
}

func TestKernelsCheckIsUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "layer.xz")
	if err := os.WriteFile(file, pack(t, sample(), XZ), 0o600); err != nil {
		t.Fatal(err)
	}
	list := string(filter(t, nil, "xz", "xz-utils", "-lvv", file))
	if !strings.Contains(list, "CRC32") || !strings.Contains(list, "--lzma2=dict=8MiB") {
		t.Errorf("want CRC32 and a dictionary of 8 MiB in:\n%s", list)
	}
}

func TestSameLayerSameBytes(t *testing.T) {
	for _, c := range []Compression{None, XZ, Zstd} {
		l := many(12, partSize/10)
		want := pack(t, l, c)
		l.Files[0], l.Files[7] = l.Files[7], l.Files[0]
		t.Setenv("TZ", "Asia/Tokyo")
		t.Setenv("SOURCE_DATE_EPOCH", "12345")
		if !bytes.Equal(want, pack(t, l, c)) {
			t.Errorf("%s: order of files or environment shows in the result", c)
		}
	}
}

// TestBytesStayTheSame fails where Pack writes something new for a layer that it
// has packed before: another farboot then gives other media for the same lock.
func TestBytesStayTheSame(t *testing.T) {
	l := sample()
	l.Files = append(l.Files, FromTree(tree.Bytes("numbers", []byte(fmt.Sprint(rand.New(rand.NewPCG(1, 2)).Perm(5000)))))...)
	h := sha256.New()
	for _, c := range []Compression{None, XZ, Zstd} {
		h.Write(pack(t, l, c))
	}
	const want = "6fa4687b9bc0ca24b427b21a2d8859d77542c2c1105fc33fe1cc054513a0950a"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("Pack writes %s; if that is meant, put it here and say so in the commit", got)
	}
}

func TestJoinPadsToFour(t *testing.T) {
	var layers []tree.File
	for _, text := range []string{"12345", "abcd", "", "z"} {
		layers = append(layers, tree.Bytes("layer", []byte(text)))
	}
	got, err := Join("initrd", layers...).Read() // compares the size announced
	if want := "12345\x00\x00\x00abcdz\x00\x00\x00"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestRefusesWhatAKernelWouldSkip(t *testing.T) {
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
	for name, files := range map[string][]File{
		"absolute":       {Dir("/dev", 0o755)},
		"parent":         {Dir("a/../b", 0o755)},
		"root":           {Dir(".", 0o755)},
		"nul":            {Dir("a\x00b", 0o755)},
		"long":           {Dir(strings.Repeat("a/", 2048)+"a", 0o755)},
		"trailer":        {Dir(trailer, 0o755)},
		"twice":          {Dir("a", 0o755), Symlink("a", "b")},
		"file as folder": {{Path: "a", Open: open}, Dir("a/b", 0o755)},
		"link as folder": {Symlink("a", "b"), Dir("a/b/c", 0o755)},
		"too large":      {{Path: "a", Open: open, Size: maxSize + 1}},
		"negative":       {{Path: "a", Open: open, Size: -1}},
		"no content":     {{Path: "a"}},
		"empty target":   {Symlink("a", "")},
		"long target":    {Symlink("a", strings.Repeat("a", 4096))},
		"nul target":     {Symlink("a", "b\x00")},
		"block device":   {{Path: "a", Mode: fs.ModeDevice}},
		"setuid":         {{Path: "a", Mode: fs.ModeSetuid | 0o755, Open: open}},
		"major":          {CharDevice("a", 0, 1<<12, 0)},
		"minor":          {CharDevice("a", 0, 0, 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Pack(&b, Layer{Files: files}, None); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if b.Len() != 0 {
				t.Errorf("%d bytes were written", b.Len())
			}
		})
	}
}

func TestRefusesTimesBeyond32Bits(t *testing.T) {
	for _, epoch := range []time.Time{time.Unix(-1, 0), time.Unix(1<<32, 0)} {
		if err := Pack(io.Discard, Layer{Epoch: epoch}, None); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: got %v, want ErrInvalid", epoch, err)
		}
	}
}

func TestContentMustHaveItsSize(t *testing.T) {
	for _, size := range []int64{2, 4} {
		f := FromTree(tree.Bytes("a", []byte("abc")))
		f[0].Size = size
		var b bytes.Buffer
		if err := Pack(&b, Layer{Files: f}, None); err == nil || b.Len() != 0 {
			t.Errorf("3 bytes pass for %d (%d bytes written)", size, b.Len())
		}
	}
}

func TestUnknownCompression(t *testing.T) {
	if err := Pack(io.Discard, Layer{}, "lz4"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"lz4"`) {
		t.Errorf("got %v", err)
	}
}
