package iso9660

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/tree"
)

var epoch = time.Date(2026, 11, 21, 22, 33, 44, 0, time.UTC)

func options() Options {
	return Options{VolumeID: "FARBOOT TEST", Publisher: "nobody", Epoch: epoch, Tail: 300 << 10}
}

// awkward is a tree with everything that writers of ISO 9660 get wrong.
func awkward(t *testing.T) *tree.Tree {
	var files []tree.File
	add := func(name string, size int) {
		files = append(files, tree.Bytes(name, oracle.Random(uint64(len(files)), size)))
	}
	for _, size := range []int{0, 1, 2047, 2048, 2049, 4096, 100_000} {
		add(fmt.Sprintf("sizes/%d", size), size)
	}
	add("empty", 0)
	add(".disk/info", 10)
	add("..odd", 10)
	add("dot.", 10)
	add("a/b/c/d/e/f/g/h/i/j/k/l/deep", 5000)
	add(strings.Repeat("n", maxName), 7)
	add("long/"+strings.Repeat("m", maxName-4)+".txt", 7)
	for n := 50; n < maxName; n++ { // over the edge where a name moves into the continuation area
		add("edge/"+strings.Repeat("e", n), n)
	}
	add("collide/abcdefgh1/2.txt", 10)
	add("collide/abcdefg0a/b.txt", 10)
	add("collide/"+strings.Repeat("same", 10)+"1", 11)
	add("collide/"+strings.Repeat("same", 10)+"2", 12)
	add("collide/README", 1)
	add("collide/readme", 2)
	add("collide/read_me", 3)
	add("collide/read-me", 4)
	add("collide/x.tar", 5)
	add("collide/x.tar.gz", 6)
	add("with blank/ümläut 漢字 'quoted'", 10)
	for i := range 300 {
		add(fmt.Sprintf("many/file-with-a-name-of-some-length-%04d.conf", i), i)
		add(fmt.Sprintf("dirs/%03d/x", i), i)
	}
	files[3].Mode = 0o755
	return oracle.Tree(t, files...)
}

// write lays tr out and writes it to a new file.
func write(t testing.TB, tr *tree.Tree, o Options) (string, *Image) {
	t.Helper()
	m, err := New(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "test.iso"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := m.WriteTo(f)
	if err != nil {
		t.Fatal(err)
	}
	if n != m.Size() {
		t.Errorf("%d bytes written, Size says %d", n, m.Size())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name(), m
}

// hashes returns the SHA-256 of every file of tr.
func hashes(t *testing.T, tr *tree.Tree) map[string]string {
	sums := make(map[string]string)
	for _, f := range tr.Files() {
		data, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		sums[f.Path] = hexSum(data)
	}
	return sums
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// hashesOnDisk returns the SHA-256 of every file below dir, and fails where a
// date, owner or mode is not what the writer promises.
func hashesOnDisk(t *testing.T, dir string) map[string]string {
	sums := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if name != "." && !info.ModTime().Equal(epoch) {
			t.Errorf("%s: modified %v, want %v", name, info.ModTime(), epoch)
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(p)
		sums[name] = hexSum(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}
