package grub_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/farboot/farboot/builder/grub"
)

// modulesDir is where Debian's package grub-pc-bin has its files.
const modulesDir = "/usr/lib/grub/i386-pc"

// grubFiles returns the files of grub-pc-bin.
func grubFiles(t testing.TB) fs.FS {
	t.Helper()
	if _, err := os.Stat(filepath.Join(modulesDir, "kernel.img")); err != nil {
		t.Fatalf("this test needs the package grub-pc-bin: %v", err)
	}
	return os.DirFS(modulesDir)
}

// tool returns the path of a foreign program.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs the package %s: %v", debianPackage, err)
	}
	return path
}

var menuModules = strings.Fields("biosdisk iso9660 part_msdos part_gpt search search_fs_file normal linux configfile echo serial terminal test sleep ls cat reboot halt minicmd")

var coreCases = map[string]grub.CoreConfig{
	"menu": {
		Modules: menuModules,
		Prefix:  "/boot/grub",
		Config:  "search --no-floppy --file --set=root /boot/0123456789abcdef\nset prefix=($root)/boot/grub\n",
	},
	"no config, odd prefix": {Modules: []string{"biosdisk", "iso9660"}, Prefix: "/a"},
	"config of whole words": {Modules: []string{"normal"}, Prefix: "/boot/gru", Config: "abc"},
	"no modules":            {Prefix: "/boot/grub", Config: "# nothing\n"},
	"many modules": {
		Modules: append([]string{"all_video", "gfxterm", "png", "pgp", "gcry_rsa", "squash4", "ext2", "fat", "multiboot2", "regexp", "password_pbkdf2", "chain", "loopback"}, menuModules...),
		Prefix:  "/boot/grub",
	},
}

// TestCorePayload compares what the decompressor will unpack with what
// grub-mkimage packs: it must be the same bytes.
func TestCorePayload(t *testing.T) {
	src := grubFiles(t)
	for name, config := range coreCases {
		t.Run(name, func(t *testing.T) {
			got, err := grub.Core(src, config)
			if err != nil {
				t.Fatal(err)
			}
			want := mkimage(t, "i386-pc-eltorito", config)
			if !bytes.Equal(unpack(t, got), unpack(t, want)) {
				t.Error("payload differs from grub-mkimage's")
			}
			compareHeads(t, got, want)
			// A stick enters behind cdboot.img: the same bytes as -O i386-pc.
			compareHeads(t, got, append(bytes.Clone(want[:2048]), mkimage(t, "i386-pc", config)...))
			t.Logf("%d bytes, grub-mkimage %d", len(got), len(want))
		})
	}
}

// compareHeads compares all that stands before the compressed payload, but for
// the fields that hold its size.
func compareHeads(t *testing.T, got, want []byte) {
	t.Helper()
	const head = 2048 + 512 + 2848
	g, w := bytes.Clone(got[:head]), bytes.Clone(want[:head])
	for _, img := range []struct{ head, whole []byte }{{g, got}, {w, want}} {
		sectors := binary.LittleEndian.Uint16(img.head[2048+0x1fc:])
		if int(sectors) != (len(img.whole)-2048-512+511)/512 {
			t.Errorf("diskboot.img loads %d sectors of a core with %d bytes", sectors, len(img.whole)-2560)
		}
		clear(img.head[2048+0x1fc : 2048+0x1fe])
		clear(img.head[2560+8 : 2560+12])
	}
	if !bytes.Equal(g, w) {
		t.Error("boot code differs from grub-mkimage's")
	}
}

// mkimage runs grub-mkimage.
func mkimage(t *testing.T, format string, c grub.CoreConfig) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "core.img")
	args := []string{"-O", format, "-d", modulesDir, "-o", out, "-p", c.Prefix}
	if c.Config != "" {
		config := filepath.Join(t.TempDir(), "early.cfg")
		if err := os.WriteFile(config, []byte(c.Config), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-c", config)
	}
	cmd := exec.Command(tool(t, "grub-mkimage", "grub-common"), append(args, c.Modules...)...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, msg)
	}
	img, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// unpack returns the payload of an El Torito core image. The decompressor's
// length is found where GRUB itself has it: in diskboot.img's block count and
// the size field.
func unpack(t *testing.T, image []byte) []byte {
	t.Helper()
	core := image[2048+512:]
	packed := binary.LittleEndian.Uint32(core[0x08:])
	size := binary.LittleEndian.Uint32(core[0x0c:])
	header := []byte{(2*5+0)*9 + 3, 0, 0, 1, 0}
	header = binary.LittleEndian.AppendUint64(header, uint64(size))
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(core[len(core)-int(packed):])))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(payload) != int(size) {
		t.Fatalf("payload has %d bytes, its field says %d", len(payload), size)
	}
	return payload
}
