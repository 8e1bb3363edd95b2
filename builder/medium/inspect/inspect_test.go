package inspect

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fs "github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/medium/esp"
	"github.com/farboot/farboot/builder/medium/hybrid"
	"github.com/farboot/farboot/builder/medium/iso9660"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// sample returns a medium and the files of its ESP.
func sample(t testing.TB) (hybrid.Medium, *tree.Tree) {
	t.Helper()
	efi := oracle.Tree(t,
		tree.Bytes("EFI/BOOT/BOOTX64.EFI", oracle.Random(1, 30_000)),
		tree.Bytes("EFI/BOOT/grubx64.efi", oracle.Random(2, 3000)),
		tree.Bytes("boot/grub/grub.cfg", oracle.Random(3, 300)),
		tree.Bytes("empty", nil))
	image, err := esp.Image(efi)
	if err != nil {
		t.Fatal(err)
	}
	code := oracle.Random(7, 512)
	code[0], code[1] = 0xeb, 0x63 // as boot_hybrid.img starts
	binary.LittleEndian.PutUint64(code[grub.MBRSectorOffset:], 1)
	code[510], code[511] = 0x55, 0xaa
	return hybrid.Medium{
		Tree: oracle.Tree(t,
			tree.Bytes("boot/grub/i386-pc/eltorito.img", oracle.Random(4, 30_001)),
			tree.Bytes("boot/grub/grub.cfg", oracle.Random(5, 300)),
			tree.Bytes("boot/f3a9", nil),
			tree.Bytes("live/vmlinuz", oracle.Random(6, 100_000)),
			tree.Bytes("a/b/c/d/e/f/g/h/i/j/"+strings.Repeat("long", 60), oracle.Random(7, 10)),
			tree.Bytes("efi.img", image)),
		VolumeID: "FARBOOT", Publisher: "nobody",
		Epoch:     time.Date(2026, 11, 21, 22, 33, 44, 0, time.UTC),
		Disk:      hybrid.NewGUID(sha256.Sum256([]byte("disk"))),
		Partition: hybrid.NewGUID(sha256.Sum256([]byte("esp"))),
		State:     hybrid.NewGUID(sha256.Sum256([]byte("state"))),
		StateName: state.PartitionName("0123456789abcdef"),
		BootCode:  code, Core: "boot/grub/i386-pc/eltorito.img", ESP: "efi.img",
	}, efi
}

// write packs m into a new file.
func write(t testing.TB, m hybrid.Medium) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "test.iso"))
	if err != nil {
		t.Fatal(err)
	}
	if err := hybrid.Write(f, m); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// entries lists a tree as a report does.
func entries(t *testing.T, tr *tree.Tree) []FileEntry {
	var list []FileEntry
	for _, f := range tr.Files() {
		data, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, FileEntry{Path: f.Path, Ref: object.OfBytes(data)})
	}
	return list
}

func TestReportIsWhatWasWritten(t *testing.T) {
	m, efi := sample(t)
	image := write(t, m)
	got, err := File(image)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	want := &Report{
		Size: info.Size(), VolumeID: m.VolumeID, Publisher: m.Publisher, Epoch: m.Epoch,
		Boot: []BootEntry{
			{Platform: "BIOS", Path: m.Core, LoadSectors: 4},
			{Platform: "UEFI", Path: m.ESP, LoadSectors: 9216},
		},
		Disk:  m.Disk.String(),
		Files: entries(t, m.Tree),
		ESP:   entries(t, efi),
		Partitions: []Partition{{
			Name: "EFI system partition", Type: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
			GUID: m.Partition.String(), Start: int64(got.Boot[1].LBA) * 2048, Size: 4608 << 10,
		}, {
			Name: m.StateName, Type: "A090822C-5081-424E-81BC-7E1FC7339531",
			GUID: m.State.String(), Start: (info.Size() - 16896 - 65536) &^ 65535, Size: 64 << 10,
		}},
	}
	// The core image is patched; package hybrid's tests look at that.
	ignoreCore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".SHA256" }, cmp.Comparer(func(a, b object.ID) bool {
		return a == b || a == coreHash(t, m) || b == coreHash(t, m)
	}))
	if diff := cmp.Diff(want, got, ignoreCore, cmpopts.IgnoreUnexported(FileEntry{}), cmpopts.IgnoreFields(BootEntry{}, "LBA")); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// coreHash is the hash of the core image before it was patched.
func coreHash(t *testing.T, m hybrid.Medium) object.ID {
	f, _ := m.Tree.Lookup(m.Core)
	data, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return object.OfBytes(data).SHA256
}

func TestReportAsJSON(t *testing.T) {
	text, err := json.Marshal(Report{Files: []FileEntry{{Path: "x", Ref: object.OfBytes(nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"size":0,"volume_id":"","publisher":"","epoch":"0001-01-01T00:00:00Z","boot":null,"disk":"","partitions":null,` +
		`"files":[{"path":"x","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"esp":null}`
	if string(text) != want {
		t.Errorf("json %s, want %s", text, want)
	}
}

func TestLargerStick(t *testing.T) {
	m, _ := sample(t)
	image := write(t, m)
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := File(image); err != nil {
		t.Error(err)
	}
}

// TestGarbage damages one thing at a time.
func TestGarbage(t *testing.T) {
	m, _ := sample(t)
	good, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Image(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	root := int(le.Uint32(good[32768+156+2:])) * 2048
	catalog := int(le.Uint32(good[34816+71:])) * 2048
	esp := int(report.Partitions[0].Start)
	fat := esp + 4*512
	for want, damage := range map[string]func(b []byte) []byte{
		"no ISO 9660 descriptor":           func(b []byte) []byte { return clear1(b, 32769) },
		"modification date":                func(b []byte) []byte { return clear1(b, 32768+830) },
		"in an image of 3145728":           func(b []byte) []byte { return b[:3<<20] },
		"lie outside the image of 100":     func(b []byte) []byte { return b[:100] },
		"image of 0 bytes":                 func(b []byte) []byte { return nil },
		"primary table is damaged":         func(b []byte) []byte { return clear1(b, 528) },
		"partition table: 0 entries":       func(b []byte) []byte { clear(b[512:17408]); return b },
		"files: ":                          func(b []byte) []byte { clear(b[root:][:2048]); return b },
		"validation entry is damaged":      func(b []byte) []byte { return clear1(b, catalog) },
		"boot catalog: no El Torito":       func(b []byte) []byte { copy(b[34816:], b[36864:38912]); return b },
		"boot sector does not describe":    func(b []byte) []byte { return clear1(b, esp+13) },
		"goes in circles":                  func(b []byte) []byte { le.PutUint16(b[fat+2*3:], 3); return b },
		"invalid start cluster":            func(b []byte) []byte { clear(b[fat+6 : fat+512]); return b },
		"go-diskfs panics":                 func(b []byte) []byte { b[root+32] = 0xff; return b },
		`"a/b": folder lies in two places`: func(b []byte) []byte { return loopFolder(b, root) },
		`"a": folder of 4278190080 bytes`:  func(b []byte) []byte { le.PutUint32(b[find(b, root, "A")+10:], 0xff000000); return b },
		"structures go in circles":         func(b []byte) []byte { return loopContinuation(b, root) },
		`"EFI/BOOT": folder lies in two p`: func(b []byte) []byte { return loopFATFolder(b, esp) },
		"volume of 8796093020160 bytes, p": func(b []byte) []byte { le.PutUint32(b[32768+80:], 1<<32-1); return b },
	} {
		bad := damage(bytes.Clone(good))
		_, err := Image(bytes.NewReader(bad), int64(len(bad)))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

// find returns where the directory record of id starts, in the folder at.
func find(b []byte, at int, id string) int {
	for string(b[at+33:][:b[at+32]]) != id {
		at += int(b[at])
	}
	return at
}

// loopFolder makes a/b the same folder as a.
func loopFolder(b []byte, root int) []byte {
	a := find(b, root, "A")
	folder := int(binary.LittleEndian.Uint32(b[a+2:])) * 2048
	copy(b[find(b, folder, "B")+2:], b[a+2:a+6])
	return b
}

// loopContinuation makes the root's continuation area continue in itself.
func loopContinuation(b []byte, root int) []byte {
	le := binary.LittleEndian
	ce := b[root+bytes.Index(b[root:], []byte("CE\x1c\x01")):][:28]
	le.PutUint32(ce[20:], 28)
	copy(b[int(le.Uint32(ce[4:]))*2048+int(le.Uint32(ce[12:])):], ce)
	return b
}

// loopFATFolder makes EFI/BOOT the same folder as EFI. EFI is the first folder
// made, BOOT comes third in it.
func loopFATFolder(b []byte, esp int) []byte {
	data := esp + (4+2*int(binary.LittleEndian.Uint16(b[esp+22:]))+32)*512
	efi := data + 1024 // cluster 3
	copy(b[efi+64+26:], []byte{3, 0})
	return b
}

// flaky fails on reads of one length, from one place on.
type flaky struct {
	io.ReaderAt
	length int
	from   int64
}

func (f flaky) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == f.length && off >= f.from {
		return 0, errors.New("bad sector")
	}
	return f.ReaderAt.ReadAt(p, off)
}

// TestReadErrorInFAT reads a cluster that cannot be read: go-diskfs takes it for
// empty.
func TestReadErrorInFAT(t *testing.T) {
	m, _ := sample(t)
	good, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Image(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	const cluster = 1024
	bad := flaky{bytes.NewReader(good), cluster, report.Partitions[0].Start}
	if report, err := Image(bad, int64(len(good))); err == nil || !strings.Contains(err.Error(), "bad sector") {
		t.Errorf("report %v, error %v", report, err)
	}
}

// clear1 sets one byte to zero.
func clear1(b []byte, at int) []byte {
	b[at] = 0
	return b
}

// overlay reads as head and then as zeros without end.
type overlay struct{ head []byte }

func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(o.head)) {
		copy(p, o.head[off:])
	}
	return len(p), nil
}

// TestHugeFile lists a file of more than one extent, in an image that is never
// on disk: what is not file system is zero.
func TestHugeFile(t *testing.T) {
	const size = 5<<30 + 3
	huge := tree.File{Path: "huge", Size: size, Open: func() (io.ReadCloser, error) { return nil, io.EOF }}
	m, err := iso9660.New(oracle.Tree(t, huge, tree.Bytes("small", []byte("small"))),
		iso9660.Options{VolumeID: "X", Epoch: time.Unix(1_700_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	if _, err := m.WriteTo(&head); err == nil {
		t.Fatal("huge file has no content, yet it is written")
	}
	volume, err := fs.Read(newDisk(overlay{head.Bytes()}, m.Size()), m.Size(), 0, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	records, err := volume.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if n := extents(records); n != 2 || len(records) != 3 {
		t.Errorf("%d extents in %d records, want 2 in 3", n, len(records))
	}
	if got := sizeOf(records[0]) + sizeOf(records[1]); got != size {
		t.Errorf("%d bytes, want %d", got, size)
	}
}

// FuzzImage overwrites and cuts a good image. Checksums of the partition table
// are made right again, so that the fuzzer gets behind them.
func FuzzImage(f *testing.F) {
	m, _ := sample(f)
	good, err := os.ReadFile(write(f, m))
	if err != nil {
		f.Fatal(err)
	}
	le := binary.LittleEndian
	for _, at := range []uint32{446, 512, 1024, 32768, 32768 + 128, 34816, 36864, le.Uint32(good[32768+156+2:]) * 2048,
		le.Uint32(good[34816+71:]) * 2048, le.Uint32(good[1024+32:]) * 512, le.Uint32(good[1024+32:])*512 + 2048} {
		f.Add(at, good[at:at+64], uint32(0))
		f.Add(at, oracle.Random(uint64(at), 64), uint32(0))
	}
	f.Add(uint32(0), []byte{}, uint32(1<<20))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, cut uint32) {
		bad := bytes.Clone(good)
		copy(bad[int(at)%len(bad):], patch)
		le.PutUint32(bad[512+88:], crc32.ChecksumIEEE(bad[1024:17408]))
		le.PutUint32(bad[512+16:], 0)
		le.PutUint32(bad[512+16:], crc32.ChecksumIEEE(bad[512:512+92]))
		bad = bad[:len(bad)-int(cut)%len(bad)]
		report, err := Image(bytes.NewReader(bad), int64(len(bad)))
		if (report == nil) == (err == nil) {
			t.Errorf("report %v and error %v", report, err)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v is of no class", err)
		}
	})
}
