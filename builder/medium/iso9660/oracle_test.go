package iso9660

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	godiskfs "github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/tree"
)

func TestXorrisoExtractsTheTree(t *testing.T) {
	xorriso := oracle.Tool(t, "xorriso", "xorriso")
	tr := awkward(t)
	image, _ := write(t, tr, options())
	out := filepath.Join(t.TempDir(), "out")
	log := oracle.Output(t, xorriso, "-osirrox", "on", "-indev", image, "-extract", "/", out)
	if regexp.MustCompile(`(?i)\b(warning|failure|sorry|fatal)\b`).MatchString(log) {
		t.Errorf("xorriso is not content:\n%s", log)
	}
	if diff := cmp.Diff(hashes(t, tr), hashesOnDisk(t, out)); diff != "" {
		t.Errorf("extracted (-want +got):\n%s", diff)
	}
}

func TestXorrisoReadsVolumeAndModes(t *testing.T) {
	xorriso := oracle.Tool(t, "xorriso", "xorriso")
	script := tree.Bytes("bin/run", nil)
	script.Mode = 0o755
	odd := tree.Bytes("bin/odd", nil)
	odd.Mode = 0o4610 // whatever a tree says, modes are 0644 or 0755
	image, _ := write(t, oracle.Tree(t, script, odd, tree.Bytes("text", nil)), options())
	log := oracle.Output(t, xorriso, "-indev", image, "-pvd_info", "-find", "/", "-exec", "lsdl", "--")
	for _, want := range []string{
		`Volume Id +: FARBOOT TEST\n`,
		`Publisher Id +: nobody\n`,
		`Creation Time: 2026112122334400\n`,
		`Modif. Time +: 2026112122334400\n`,
		`Expir. Time +: 0000000000000000\n`,
		`Eff. Time +: 0000000000000000\n`,
		`drwxr-xr-x +\d+ 0 +0 .* '/bin'`,
		`-rwxr-xr-x +1 0 +0 .* '/bin/run'`,
		`-rwxr-xr-x +1 0 +0 .* '/bin/odd'`,
		`-rw-r--r-- +1 0 +0 .* '/text'`,
	} {
		if !regexp.MustCompile(want).MatchString(log) {
			t.Errorf("xorriso does not say %q:\n%s", want, log)
		}
	}
}

func TestBsdtarExtractsTheTree(t *testing.T) {
	bsdtar := oracle.Tool(t, "bsdtar", "libarchive-tools")
	tr := awkward(t)
	image, _ := write(t, tr, options())
	out := t.TempDir()
	if log := oracle.Output(t, bsdtar, "-x", "-p", "-C", out, "-f", image); log != "" {
		t.Errorf("bsdtar is not content:\n%s", log)
	}
	if diff := cmp.Diff(hashes(t, tr), hashesOnDisk(t, out)); diff != "" {
		t.Errorf("extracted (-want +got):\n%s", diff)
	}
}

// TestGRUBReadsTheTree compares by GRUB's own driver, the one that boots.
func TestGRUBReadsTheTree(t *testing.T) {
	fstest := oracle.Tool(t, "grub-fstest", "grub-common")
	tr := awkward(t)
	image, _ := write(t, tr, options())
	local := t.TempDir()
	for _, f := range tr.Files() {
		data, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(local, f.Path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if log := oracle.Output(t, fstest, image, "cmp", "/", local); strings.Contains(log, "error") {
		t.Errorf("GRUB is not content:\n%s", log)
	}
}

// TestNamesWithoutRockRidge looks at the names that plain ISO 9660 has, and
// extracts by them.
func TestNamesWithoutRockRidge(t *testing.T) {
	bsdtar := oracle.Tool(t, "bsdtar", "libarchive-tools")
	tr := awkward(t)
	image, _ := write(t, tr, options())
	out := t.TempDir()
	oracle.Output(t, bsdtar, "-x", "-C", out, "--options", "iso9660:!rockridge", "-f", image)
	valid := regexp.MustCompile(`^[A-Z0-9_]{1,30}$|^[A-Z0-9_]+(\.[A-Z0-9_]*)?$`)
	var got []string
	for name, sum := range hashesOnDisk(t, out) {
		for part := range strings.SplitSeq(name, "/") {
			if !valid.MatchString(part) || len(part) > 31 {
				t.Errorf("%s: name %q is not ISO 9660", name, part)
			}
		}
		got = append(got, sum)
	}
	var want []string
	for _, sum := range hashes(t, tr) {
		want = append(want, sum)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

// TestGoDiskfsReadsTheTree leaves out what package inspect says that go-diskfs
// cannot read: leading and trailing dots, names of more than 250 bytes.
func TestGoDiskfsReadsTheTree(t *testing.T) {
	var plain []tree.File
	for _, f := range awkward(t).Files() {
		first, base := strings.Split(f.Path, "/")[0], path.Base(f.Path)
		if !strings.HasPrefix(first, ".") && !strings.HasSuffix(base, ".") && len(base) <= 250 {
			plain = append(plain, f)
		}
	}
	tr := oracle.Tree(t, plain...)
	image, m := write(t, tr, options())
	b, err := file.OpenFromPath(image, true)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	volume, err := godiskfs.Read(b, m.Size(), 0, SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	err = fs.WalkDir(volume, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := volume.ReadFile(p)
		got[p] = hexSum(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(hashes(t, tr), got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func TestBootCatalog(t *testing.T) {
	xorriso := oracle.Tool(t, "xorriso", "xorriso")
	const large = 33 << 20 // more sectors than 16 bits can say
	tr := oracle.Tree(t, tree.Bytes("core", oracle.Random(1, 5001)), tree.Bytes("efi.img", oracle.Random(2, 10_240)),
		tree.File{Path: "large.img", Size: large, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.LimitReader(zeros{}, large)), nil
		}})
	o := options()
	o.Boot = []BootImage{
		{Platform: BIOS, Path: "core", LoadSectors: 4, Patch: func(image []byte, lba uint32) error {
			binary.LittleEndian.PutUint32(image, lba)
			return nil
		}},
		{Platform: EFI, Path: "efi.img"},
		{Platform: EFI, Path: "large.img"},
	}
	image, m := write(t, tr, o)
	log := oracle.Output(t, xorriso, "-indev", image, "-report_el_torito", "plain")
	for i, want := range []string{`1 +BIOS +y +none +0x0000 +0x00 +4`, `2 +UEFI +y +none +0x0000 +0x00 +20`, `3 +UEFI +y +none +0x0000 +0x00 +0`} {
		lba, ok := m.LBA(o.Boot[i].Path)
		if !ok || !regexp.MustCompile(fmt.Sprintf(`El Torito boot img : +%s +%d\n`, want, lba)).MatchString(log) {
			t.Errorf("xorriso does not say %q at %d:\n%s", want, lba, log)
		}
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	lba, _ := m.LBA("core")
	want := oracle.Random(1, 5001)
	binary.LittleEndian.PutUint32(want, lba)
	if !bytes.Equal(want, data[lba*SectorSize:][:len(want)]) {
		t.Error("core is not where it should be, or not patched")
	}
	// Firmware looks at these, xorriso does not.
	catalog := data[binary.LittleEndian.Uint32(data[17*SectorSize+71:])*SectorSize:]
	if sum := sum16(catalog[:32]); sum != 0 {
		t.Errorf("validation entry adds up to %#x", sum)
	}
	if got, want := [...]byte{catalog[64], catalog[128], catalog[192]}, [...]byte{0x90, 0x91, 0}; got != want {
		t.Errorf("section headers % x, want % x", got, want)
	}
}

// TestLargeFiles writes a file of more than 4 GiB, almost all of it a hole, and
// lets GRUB read around the place where its second extent begins.
func TestLargeFiles(t *testing.T) {
	xorriso, fstest := oracle.Tool(t, "xorriso", "xorriso"), oracle.Tool(t, "grub-fstest", "grub-common")
	const size = 1<<32 + 10_000
	end := oracle.Random(1, 20_000)
	huge := tree.File{Path: "huge", Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(io.LimitReader(zeros{}, size-20_000), bytes.NewReader(end))), nil
	}}
	m, err := New(oracle.Tree(t, huge, tree.Bytes("small", []byte("after it"))), options())
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "large.iso")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := m.WriteTo(holes{f}); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(m.Size()); err != nil {
		t.Fatal(err)
	}
	lba, _ := m.LBA("huge")
	log := oracle.Output(t, xorriso, "-indev", image, "-find", "/", "-exec", "report_lba", "--")
	for _, want := range []string{
		fmt.Sprintf(`File data lba: +0 , +%d , +%d , +%d , '/huge'`, lba, maxExtent/SectorSize, int64(size)),
		fmt.Sprintf(`File data lba: +1 , +%d , +%d , +%d , '/huge'`, lba+maxExtent/SectorSize, sectorsOf(size-maxExtent), int64(size)),
	} {
		if !regexp.MustCompile(want).MatchString(log) {
			t.Errorf("xorriso does not say %q:\n%s", want, log)
		}
	}
	cut := oracle.Output(t, fstest, "-s", fmt.Sprint(size-30_000), "-n", "30000", image, "cat", "/huge")
	if cut != strings.Repeat("\x00", 10_000)+string(end) {
		t.Error("the file's end reads as something else")
	}
	if small := oracle.Output(t, fstest, image, "cat", "/small"); small != "after it" {
		t.Errorf("the file behind reads %q", small)
	}
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// holes writes to a file, but skips what is zero.
type holes struct{ f *os.File }

func (h holes) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]) {
		_, err := h.f.Seek(int64(len(p)), io.SeekCurrent)
		return len(p), err
	}
	return h.f.Write(p)
}
