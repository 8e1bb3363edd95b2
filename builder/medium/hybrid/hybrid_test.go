package hybrid

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/medium/esp"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/state"
)

// bootCode is a stand-in for boot_hybrid.img.
func bootCode() []byte {
	code := oracle.Random(7, 512)
	code[0], code[1] = 0xeb, 0x63 // the jump and the sector by which it is known
	binary.LittleEndian.PutUint64(code[grub.MBRSectorOffset:], 1)
	code[510], code[511] = 0x55, 0xaa
	return code
}

// sample is a medium without a working boot loader.
func sample(t testing.TB) Medium {
	t.Helper()
	var efi, tr tree.Tree
	if err := efi.Add(tree.Bytes("EFI/BOOT/BOOTX64.EFI", oracle.Random(1, 900_000))); err != nil {
		t.Fatal(err)
	}
	image, err := esp.Image(&efi)
	if err != nil {
		t.Fatal(err)
	}
	err = tr.Add(
		tree.Bytes("boot/grub/i386-pc/eltorito.img", oracle.Random(2, 171_989)),
		tree.Bytes("boot/grub/grub.cfg", oracle.Random(3, 300)),
		tree.Bytes("live/vmlinuz", oracle.Random(4, 1_000_000)),
		tree.Bytes("efi.img", image))
	if err != nil {
		t.Fatal(err)
	}
	return Medium{
		Tree: &tr, VolumeID: "FARBOOT", Publisher: "nobody",
		Epoch:     time.Date(2026, 11, 21, 22, 33, 44, 0, time.UTC),
		Disk:      NewGUID(sha256.Sum256([]byte("disk"))),
		Partition: NewGUID(sha256.Sum256([]byte("esp"))),
		State:     NewGUID(sha256.Sum256([]byte("state"))),
		StateName: state.PartitionName("0123456789abcdef"),
		BootCode:  bootCode(),
		Core:      "boot/grub/i386-pc/eltorito.img",
		ESP:       "efi.img",
	}
}

// write packs m into a new file.
func write(t testing.TB, m Medium) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "test.iso"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, m); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestSgdiskFindsNoProblem(t *testing.T) {
	sgdisk := oracle.Tool(t, "sgdisk", "gdisk")
	m := sample(t)
	image := write(t, m)
	if log := oracle.Output(t, sgdisk, "-v", image); !strings.Contains(log, "No problems found.") || strings.Contains(strings.ToLower(log), "warning") {
		t.Errorf("sgdisk is not content:\n%s", log)
	}
	info := oracle.Output(t, sgdisk, "-p", "-i", "1", image)
	lba := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(info)
	for _, want := range []string{m.Disk.String(), m.Partition.String(), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B (EFI system partition)"} {
		if !strings.Contains(info, want) {
			t.Errorf("sgdisk does not see %q:\n%s", want, info)
		}
	}

	var first int64
	if len(lba) == 2 {
		fmt.Sscan(lba[1], &first)
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := m.Tree.Lookup(m.ESP)
	want, _ := f.Read()
	if !bytes.Equal(data[first*512:][:len(want)], want) {
		t.Errorf("sector %d does not start the EFI system partition", first)
	}
}

// TestStatePartition: it is what Linux will know it by, holds zeros, and lies
// between the files and the backup table.
func TestStatePartition(t *testing.T) {
	sgdisk := oracle.Tool(t, "sgdisk", "gdisk")
	m := sample(t)
	image := write(t, m)
	info := oracle.Output(t, sgdisk, "-i", "2", image)
	for _, want := range []string{m.State.String(), string(stateType), "Partition name: '" + m.StateName + "'", "Partition size: 128 sectors"} {
		if !strings.Contains(info, want) {
			t.Errorf("sgdisk does not see %q:\n%s", want, info)
		}
	}
	var at int
	if lba := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(info); len(lba) == 2 {
		fmt.Sscan(lba[1], &at)
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	files := len(bytes.TrimRight(data[:len(data)-gptSize], "\x00"))
	if at *= 512; at%stateSize != 0 || at < files || at+stateSize > len(data)-gptSize {
		t.Errorf("partition from %d to %d; files end at %d, the backup table starts at %d", at, at+stateSize, files, len(data)-gptSize)
	}
	if bytes.ContainsFunc(data[at:][:stateSize], func(r rune) bool { return r != 0 }) {
		t.Error("the partition is not empty")
	}
}

func TestStickMayBeLarger(t *testing.T) {
	sgdisk := oracle.Tool(t, "sgdisk", "gdisk")
	m := sample(t)
	image := write(t, m)
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if info := oracle.Output(t, sgdisk, "-i", "1", image); !strings.Contains(info, m.Partition.String()) {
		t.Errorf("partition lost:\n%s", info)
	}
}

func TestXorrisoReadsBootEquipment(t *testing.T) {
	xorriso := oracle.Tool(t, "xorriso", "xorriso")
	image := write(t, sample(t))
	log := oracle.Output(t, xorriso, "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain")
	for _, want := range []string{
		`Volume id +: 'FARBOOT'`,
		`El Torito images +: +N +Pltf +B`,
		`El Torito boot img : +1 +BIOS +y +none +0x0000 +0x00 +4 +\d+`,
		`El Torito boot img : +2 +UEFI +y +none +0x0000 +0x00 +9216 +\d+`,
		`El Torito img path : +1 +/boot/grub/i386-pc/eltorito.img`,
		`El Torito img opts : +1 +boot-info-table isohybrid-suitable grub2-boot-info|El Torito img opts : +1 +boot-info-table grub2-boot-info`,
		`El Torito img path : +2 +/efi.img`,
		`System area options: 0x`,
		`System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT`,
		`GPT type GUID +: +1 +28732ac11ff8d211ba4b00a0c93ec93b`,
		`GPT start and size : +1`,
		`GPT partition path : +1 +/efi.img`,
	} {
		if !regexp.MustCompile(want).MatchString(log) {
			t.Errorf("xorriso does not say %q:\n%s", want, log)
		}
	}
}

func TestLayoutOfTheFirstSector(t *testing.T) {
	m := sample(t)
	data, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data[:grub.MBRSectorOffset], m.BootCode[:grub.MBRSectorOffset]) {
		t.Error("boot code changed")
	}
	want := fmt.Sprintf("%x", []byte{
		0, 0, 0, 0, 0xee, 0, 0, 0, 1, 0, 0, 0,
		byte(len(data)/512 - 1), byte((len(data)/512 - 1) >> 8), byte((len(data)/512 - 1) >> 16), 0,
		0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
	}) + strings.Repeat("00", 32) + "55aa"
	if got := fmt.Sprintf("%x", data[446:512]); got != want {
		t.Errorf("partition entries\n %s, want\n %s", got, want)
	}
	core := oracle.Random(2, 171_989)
	if at := binary.LittleEndian.Uint64(data[grub.MBRSectorOffset:]) * 512; !bytes.Equal(data[at:][:grub.BlocklistOffset-grub.DiskbootOffset], core[grub.DiskbootOffset:grub.BlocklistOffset]) {
		t.Errorf("boot code loads from byte %d, where diskboot.img is not", at)
	}
	if sum := sha256.Sum256(data[17408:32768]); sum != sha256.Sum256(make([]byte, 32768-17408)) {
		t.Error("something lies between the partition table and the file system")
	}
	if size := binary.LittleEndian.Uint32(data[32768+80:]); int64(size)*2048 != int64(len(data)) {
		t.Errorf("volume of %d sectors in a file of %d bytes", size, len(data))
	}
}

// TestEndOfTheImage looks for the last file, the padding and the backup table,
// none of which may be in the way of another.
func TestEndOfTheImage(t *testing.T) {
	m := sample(t)
	data, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	end := data[len(data)-gptSize:]
	if string(end[128*128:][:8]) != "EFI PART" {
		t.Error("no backup table in the last sector")
	}
	rest := bytes.TrimRight(data[:len(data)-gptSize], "\x00")
	if zeros := len(data) - gptSize - len(rest); zeros < padding {
		t.Errorf("%d zeros follow the files, want at least %d", zeros, padding)
	}
	if !bytes.HasSuffix(rest, bytes.TrimRight(oracle.Random(4, 1_000_000), "\x00")) {
		t.Error("last file is damaged")
	}
}

func TestSameMediumSameBytes(t *testing.T) {
	first, err := os.ReadFile(write(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	local := time.Local
	defer func() { time.Local = local }()
	time.Local = time.FixedZone("Tokyo", 9*3600)
	t.Setenv("SOURCE_DATE_EPOCH", "12345")
	t.Setenv("TZ", "Asia/Tokyo")
	m := sample(t)
	m.Epoch = m.Epoch.Local()
	again, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("second image differs")
	}
}

func TestRefusals(t *testing.T) {
	for want, spoil := range map[string]func(*Medium){
		`boot_hybrid.img`:                                          func(m *Medium) { m.BootCode = m.BootCode[:440] },
		`boot image "nowhere": not in the tree`:                    func(m *Medium) { m.Core = "nowhere" },
		`boot image "boot/grub/grub.cfg": grub: 300 bytes are not`: func(m *Medium) { m.Core = "boot/grub/grub.cfg" },
		`partition table: boot/grub/grub.cfg: 300 bytes are not`:   func(m *Medium) { m.ESP = "boot/grub/grub.cfg" },
		`volume id "": want 1 to 32`:                               func(m *Medium) { m.VolumeID = "" },
		`name "": want 1 to 36 characters`:                         func(m *Medium) { m.StateName = "" },
		`want 1 to 36 characters`:                                  func(m *Medium) { m.StateName = strings.Repeat("x", 37) },
		`epoch 0001-01-01 00:00:00 +0000 UTC: want a year from 19`: func(m *Medium) { m.Epoch = time.Time{} },
	} {
		m := sample(t)
		spoil(&m)
		f, err := os.Create(filepath.Join(t.TempDir(), "test.iso"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(f, m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
		f.Close()
	}
}

func TestGUID(t *testing.T) {
	g := NewGUID([32]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10})
	if got, want := g.String(), "01234567-89AB-8DEF-BEDC-BA9876543210"; got != want {
		t.Errorf("String() = %s; want %s", got, want)
	}
}
