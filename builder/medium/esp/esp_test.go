package esp

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/tree"
)

// loader is a tree like the ones that media have.
func loader(t *testing.T) *tree.Tree {
	return oracle.Tree(t,
		tree.Bytes("EFI/BOOT/BOOTX64.EFI", oracle.Random(1, 1_048_504)),
		tree.Bytes("EFI/BOOT/grubx64.efi", oracle.Random(2, 3_835_328)),
		tree.Bytes("boot/grub/grub.cfg", oracle.Random(3, 300)))
}

// awkward is a tree of edges: sizes around clusters, folders of more than one
// cluster, a full root folder, nothing at all in a file.
func awkward(t *testing.T) *tree.Tree {
	var files []tree.File
	for _, size := range []int{0, 1, 511, 512, 1023, 1024, 1025, 70_000} {
		files = append(files, tree.Bytes(fmt.Sprintf("sizes/%d", size), oracle.Random(uint64(size), size)))
	}
	for i := range 60 {
		files = append(files,
			tree.Bytes(fmt.Sprintf("many/file%d.x", i), oracle.Random(uint64(i), i)),
			tree.Bytes(fmt.Sprintf("a/b/c/d/%d/e/f", i), nil),
			tree.Bytes(fmt.Sprintf("root%d", i), nil))
	}
	return oracle.Tree(t, files...)
}

// write stores an image on disk.
func write(t *testing.T, image []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(p, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFsckAndMtoolsAgree(t *testing.T) {
	fsck, mcopy := oracle.Tool(t, "fsck.fat", "dosfstools"), oracle.Tool(t, "mcopy", "mtools")
	for name, tr := range map[string]*tree.Tree{
		"loader": loader(t), "awkward": awkward(t), "empty": oracle.Tree(t),
		"largest": oracle.Tree(t, tree.Bytes("big", oracle.Random(9, maxSize-maxSize/perFAT-overhead-step))),
	} {
		t.Run(name, func(t *testing.T) {
			image, err := Image(tr)
			if err != nil {
				t.Fatal(err)
			}
			p := write(t, image)
			log := oracle.Output(t, fsck, "-n", "-v", p)
			for _, bad := range []string{"Reclaim", "differ", "chain", "Truncat", "orphan", "wrong", "invalid"} {
				if strings.Contains(log, bad) {
					t.Errorf("fsck.fat is not content:\n%s", log)
				}
			}
			if len(tr.Files()) == 0 {
				return
			}
			out := t.TempDir()
			oracle.Output(t, mcopy, "-s", "-m", "-n", "-i", p, "::*", out)
			compare(t, tr, out)
		})
	}
}

// TestNoRoomIsWasted: what lies in the image is nearly all that it has room for,
// and every size around a step still fits.
func TestNoRoomIsWasted(t *testing.T) {
	const content = 5_000_000
	for i := range 24 {
		image, err := Image(oracle.Tree(t, tree.Bytes("big", make([]byte, content+i*511))))
		if err != nil {
			t.Fatal(err)
		}
		if slack := len(image) - content - i*511; slack > 48<<10 {
			t.Errorf("%d bytes of content: %d more in the image", content+i*511, slack)
		}
	}
}

// compare fails unless dir holds the files of tr and nothing else, each dated
// 1980-01-01.
func compare(t *testing.T, tr *tree.Tree, dir string) {
	t.Helper()
	want, got := make(map[string]string), make(map[string]string)
	for _, f := range tr.Files() {
		data, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		want[f.Path] = string(data)
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		data, err := os.ReadFile(p)
		got[name] = string(data)
		if info, err := d.Info(); err != nil || info.ModTime().UTC().Format("2006-01-02 15:04:05") != "1980-01-01 00:00:00" {
			t.Errorf("%s: modified %v (%v)", name, info.ModTime().UTC(), err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("copied (-want +got):\n%.2000s", diff)
	}
}

func TestImageDependsOnTheTreeAlone(t *testing.T) {
	var first []byte
	for _, env := range []string{"", "0", "315532800", "1700000000", "9999999999", "nonsense"} {
		t.Setenv("SOURCE_DATE_EPOCH", env)
		image, err := Image(awkward(t))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = image
		}
		if !bytes.Equal(first, image) {
			t.Errorf("SOURCE_DATE_EPOCH=%q: image differs", env)
		}
	}
}

func TestRefusals(t *testing.T) {
	for want, tr := range map[string]*tree.Tree{
		`name "longer-than-8.txt"`: oracle.Tree(t, tree.Bytes("longer-than-8.txt", nil)),
		`name "a.jpeg"`:            oracle.Tree(t, tree.Bytes("x/a.jpeg", nil)),
		`name "ümläut"`:            oracle.Tree(t, tree.Bytes("ümläut/x", nil)),
		`name ".disk"`:             oracle.Tree(t, tree.Bytes(".disk/info", nil)),
		`are one name`:             oracle.Tree(t, tree.Bytes("EFI/x", nil), tree.Bytes("efi/y", nil)),
		`at most 32505856 fit`:     oracle.Tree(t, tree.Bytes("big", make([]byte, maxSize))),
	} {
		if _, err := Image(tr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
