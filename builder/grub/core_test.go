package grub_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"io/fs"
	"math/rand/v2"
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

var menuModules = append(grub.MenuModules(grub.Menu{}), "configfile", "cat", "halt", "minicmd")

var coreCases = map[string]grub.CoreConfig{
	"menu": {
		Modules: menuModules,
		Prefix:  "/boot/grub",
		Config:  "search --no-floppy --file --set=root /boot/0123456789abcdef\nset prefix=($root)/boot/grub\n",
	},
	"no config, odd prefix": {Modules: []string{"biosdisk", "iso9660"}, Prefix: "/a"},
	"config of whole words": {Modules: []string{"normal"}, Prefix: "/boot/gr", Config: "abcd"},
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
			if again, err := grub.Core(src, config); err != nil || !bytes.Equal(got, again) {
				t.Errorf("a second build differs (%v)", err)
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
	header := []byte{(2*5+0)*9 + 3, 0, 0, 16, 0} // dictionary: GRUB looks back as far as its output goes
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

// TestCoreRefuses alters one thing each in the files of grub-pc-bin.
func TestCoreRefuses(t *testing.T) {
	files := grubFiles(t)
	menu := grub.CoreConfig{Modules: []string{"normal"}, Prefix: "/boot/grub"}
	for name, c := range map[string]struct {
		file   string
		alter  func([]byte) []byte // nil removes the file
		config grub.CoreConfig
		want   string
	}{
		"GRUB 2.12":           {"modinfo.sh", replace(`grub_version="2.06"`, `grub_version="2.12"`), menu, `version "2.12": only 2.06`},
		"no version":          {"modinfo.sh", replace("grub_version", "x"), menu, "names no version"},
		"version unknown":     {"modinfo.sh", nil, menu, "modinfo.sh"},
		"kernel missing":      {"kernel.img", nil, menu, "kernel.img"},
		"kernel cut":          {"kernel.img", cut(1000), menu, "kernel.img"},
		"kernel of 64 bits":   {"kernel.img", func(b []byte) []byte { b[18] = byte(elf.EM_X86_64); return b }, menu, "want 32 bit x86"},
		"kernel elsewhere":    {"kernel.img", setU32(0x754c+40+12, 0x8000), menu, "section .text"},
		"kernel beyond limit": {"kernel.img", setU32(0x754c+4*40+20, 0x60000), menu, "section .bss"},
		"decompressor cut":    {"lzma_decompress.img", cut(100), menu, "lzma_decompress.img"},
		"decompressor large":  {"lzma_decompress.img", func(b []byte) []byte { return append(b, make([]byte, 1000)...) }, menu, "lzma_decompress.img"},
		"decompressor used":   {"lzma_decompress.img", setU32(8, 1), menu, "fields"},
		"cdboot cut":          {"cdboot.img", cut(512), menu, "cdboot.img"},
		"diskboot elsewhere":  {"diskboot.img", setU32(0x1fc, 0x09200000), menu, "segment"},
		"module missing":      {"boot.mod", nil, menu, "boot.mod"},
		"moddep missing":      {"moddep.lst", nil, menu, "moddep.lst"},
		"module in a circle":  {"moddep.lst", replace("\nboot:", "\nboot: normal"), menu, "needs itself"},
		"module unknown":      {"moddep.lst", keep, grub.CoreConfig{Modules: []string{"nmrl"}, Prefix: "/"}, `no module "nmrl"`},
		"module path":         {"moddep.lst", keep, grub.CoreConfig{Modules: []string{"../x"}, Prefix: "/"}, `no module "../x"`},
		"prefix relative":     {"moddep.lst", keep, grub.CoreConfig{Prefix: "boot"}, "prefix"},
		"NUL in config":       {"moddep.lst", keep, grub.CoreConfig{Prefix: "/", Config: "a\x00b"}, "NUL"},
		"module too large":    {"normal.mod", func([]byte) []byte { return noise(600_000) }, menu, "at most 454656 can be loaded"},
	} {
		t.Run(name, func(t *testing.T) {
			src := overlay{files, c.file, nil}
			if c.alter != nil {
				data, err := fs.ReadFile(files, c.file)
				if err != nil {
					t.Fatal(err)
				}
				src.data = c.alter(data)
			}
			_, err := grub.Core(src, c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// overlay is a file system with one file replaced, or gone where data is nil.
type overlay struct {
	fs.FS
	name string
	data []byte
}

func (o overlay) ReadFile(name string) ([]byte, error) {
	switch {
	case name != o.name:
		return fs.ReadFile(o.FS, name)
	case o.data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	default:
		return bytes.Clone(o.data), nil
	}
}

func replace(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) }
}

func keep(b []byte) []byte { return b }

func cut(size int) func([]byte) []byte { return func(b []byte) []byte { return b[:size] } }

func setU32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

// noise returns bytes that do not compress.
func noise(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}
