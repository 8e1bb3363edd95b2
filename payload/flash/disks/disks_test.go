package disks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/manifest"
)

// machine returns a sysfs and a /proc. Each line of devices is a device's place
// below /sys/devices, then its files, as "file=content".
func machine(t *testing.T, mounts, swaps string, devices ...[]string) (sys, proc fs.FS) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "block"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name, content string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range devices {
		at := filepath.Join(dir, "devices", d[0])
		for _, file := range d[1:] {
			name, content, _ := strings.Cut(file, "=")
			put(filepath.Join(at, name), content+"\n")
		}
		link := filepath.Join(dir, "block", filepath.Base(at))
		if err := os.Symlink(filepath.Join("../devices", d[0]), link); err != nil {
			t.Fatal(err)
		}
	}
	proc = fstest.MapFS{
		"self/mountinfo": &fstest.MapFile{Data: []byte(mounts)},
		"swaps":          &fstest.MapFile{Data: []byte("Filename\tType\tSize\tUsed\tPriority\n" + swaps)},
	}
	return os.DirFS(dir), proc
}

// The devices of machines as Linux 6.1 shows them.
var (
	sda = []string{
		"pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", "dev=8:0", "size=41943040", "ro=0", "removable=0",
		"device/vendor=ATA     ", "device/model=QEMU HARDDISK   ", "device/vpd_pg80=\x00\x80\x00\x06QM0001", "device/wwid=naa.5000c500a1b2c3d4",
		"sda1/partition=1", "sda1/dev=8:1", "sda1/uevent=DEVNAME=sda1\nPARTNAME=root", "sda2/partition=2", "sda2/dev=8:2",
	}
	sdb = []string{
		"pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host4/target4:0:0/4:0:0:0/block/sdb", "dev=8:16", "size=31457280", "ro=0", "removable=1",
		"device/vendor=SanDisk ", "device/model=Ultra           ", "device/vpd_pg80=\x00\x80\x00\x044C53",
		"sdb1/partition=1", "sdb1/dev=8:17", "sdb2/partition=2", "sdb2/uevent=DEVNAME=sdb2\nPARTN=2\nPARTNAME=farboot state 97a88a30ea012ae7",
	}
	nvme = []string{
		"pci0000:00/0000:00:1d.0/0000:3d:00.0/nvme/nvme0/nvme0n1", "dev=259:0", "size=1000215216", "ro=0", "removable=0",
		"device/model=SAMSUNG MZVLB512", "device/serial=S4DYNX0R      ", "wwid=eui.0025388b91b1b1b1", "nvme0n1p1/partition=1", "nvme0n1p1/dev=259:1",
	}
	vda  = []string{"pci0000:00/0000:00:02.0/virtio1/block/vda", "dev=254:0", "size=20971520", "ro=0", "removable=0", "serial=disk-a"}
	vdb  = []string{"pci0000:00/0000:00:03.0/virtio2/block/vdb", "dev=254:16", "size=20971520", "ro=0", "removable=0", "serial=disk-b"}
	vdc  = []string{"pci0000:00/0000:00:04.0/virtio3/block/vdc", "dev=254:32", "size=62914560", "ro=1", "removable=0", "serial=disk-c"}
	card = []string{"pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "dev=179:0", "size=62914560", "removable=0", "device/name=SD32G", "device/serial=0x12"}
	none = []string{"pci0000:00/usb2/2-1/host5/target5:0:0/5:0:0:0/block/sdc", "size=0"}
	rest = [][]string{
		{"virtual/block/loop0", "size=100", "loop/backing_file=/dev/vdb"}, {"virtual/block/ram0", "size=100"}, {"virtual/block/dm-0", "size=100"},
		{"virtual/block/md127", "size=100"}, {"virtual/block/zram0", "size=100"}, {"pci/ata2/host1/block/sr0", "size=2000", "removable=1"},
		{"pci/mmc_host/mmc0/block/mmcblk0boot0", "size=8192"}, {"platform/floppy.0/block/fd0", "size=8"}, {"virtual/block/nbd3", "size=100"},
	}
)

// list lists the disks of a machine.
func list(t *testing.T, mounts, swaps string, devices ...[]string) []Disk {
	t.Helper()
	sys, proc := machine(t, mounts, swaps, devices...)
	all, err := List(sys, proc, "farboot state 97a88a30ea012ae7")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestList(t *testing.T) {
	got := list(t, "", "", append([][]string{sda, sdb, nvme, vda, card, none}, rest...)...)
	want := []Disk{
		{Name: "mmcblk0", Node: "/dev/mmcblk0", Model: "SD32G", Serial: "0x12", Size: 62914560 * 512, Bus: "mmc"},
		{Name: "nvme0n1", Node: "/dev/nvme0n1", Model: "SAMSUNG MZVLB512", Serial: "S4DYNX0R", Size: 1000215216 * 512, Bus: "nvme",
			IDs: []string{"eui.0025388b91b1b1b1", "nvme-eui.0025388b91b1b1b1", "nvme-SAMSUNG_MZVLB512_S4DYNX0R"}, Partitions: []string{"nvme0n1p1"}},
		{Name: "sda", Node: "/dev/sda", Model: "QEMU HARDDISK", Serial: "QM0001", Size: 41943040 * 512, Bus: "ata",
			IDs: []string{"naa.5000c500a1b2c3d4", "wwn-0x5000c500a1b2c3d4"}, Partitions: []string{"sda1", "sda2"}},
		{Name: "sdb", Node: "/dev/sdb", Model: "SanDisk Ultra", Serial: "4C53", Size: 31457280 * 512, Bus: "usb", Removable: true, Medium: true,
			Partitions: []string{"sdb1", "sdb2"}},
		{Name: "vda", Node: "/dev/vda", Serial: "disk-a", Size: 20971520 * 512, Bus: "virtio", IDs: []string{"virtio-disk-a"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text := got[3].String(); text != `sdb, "SanDisk Ultra", serial 4C53, 16.1 GB, removable` {
		t.Errorf("String() = %s", text)
	}
}

// TestInUse uses a disk in each way, and wants it to be seen.
func TestInUse(t *testing.T) {
	with := func(d []string, more ...string) []string { return append(slices.Clone(d), more...) }
	for name, test := range map[string]struct {
		mounts, swaps string
		disk          []string
		want          string
	}{
		"free":              {"1 0 0:2 / /proc rw - proc proc rw", "", sda, ""},
		"whole":             {"36 35 8:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda rw", "", sda, "mounted on /mnt"},
		"partition":         {"36 35 8:2 / /boot rw - ext4 /dev/root rw", "", sda, "sda2 is mounted on /boot"},
		"btrfs":             {"36 35 0:33 /@ /data rw - btrfs /dev/sda1 rw", "", sda, "sda1 is mounted on /data"},
		"another's number":  {"36 35 18:2 / /boot rw - ext4 /dev/sda22 rw", "", sda, ""},
		"swap":              {"", "/dev/sda2\tpartition\t100\t0\t-2\n", sda, "sda2 is used for swap"},
		"LVM":               {"", "", with(sda, "sda1/holders/dm-0/name="), "sda1 is held by dm-0"},
		"array":             {"", "", with(sda, "holders/md127/name="), "held by md127"},
		"loop":              {"", "", vdb, "behind loop0"},
		"partition by NVMe": {"36 35 259:1 / / rw - xfs /dev/nvme0n1p1 rw", "", nvme, "nvme0n1p1 is mounted on /"},
	} {
		all := list(t, test.mounts, test.swaps, test.disk, rest[0])
		if len(all) != 1 || all[0].InUse != test.want {
			t.Errorf("%s: %+v; want %q", name, all, test.want)
		}
	}
	sys, proc := machine(t, "what is this", "", sda)
	if _, err := List(sys, proc, ""); err == nil {
		t.Error("mounts that cannot be read are taken for none")
	}
	if _, err := List(sys, fstest.MapFS{}, ""); err == nil {
		t.Error("mounts that are not there are taken for none")
	}
}

// TestThisMachine reads what is really there. Its disk is mounted.
func TestThisMachine(t *testing.T) {
	all, err := List(os.DirFS("/sys"), os.DirFS("/proc"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Log(d, d.IDs, d.Bus, d.Bar())
	}
}

func TestChoose(t *testing.T) {
	busy := "36 35 8:1 / / rw - ext4 /dev/sda1 rw"
	const need = 1 << 30
	for _, test := range []struct {
		name    string
		disks   [][]string
		mounts  string
		rule    Rule
		need    int64
		want    string
		wantErr error
		text    string
	}{
		{name: "the only one", disks: [][]string{vda}, want: "vda"},
		{name: "the only one beside a stick", disks: [][]string{vda, sdb}, want: "vda"},
		{name: "the only writable one", disks: [][]string{vda, vdc}, want: "vda"},
		{name: "the only large one", disks: [][]string{vda, sda}, need: 12 << 30, want: "sda"},
		{name: "none", wantErr: ErrNone, text: "shows no disk"},
		{name: "only a stick that is not the medium", disks: [][]string{sdb[:10]}, wantErr: ErrNone, text: `serial 4C53, 16.1 GB, removable`},
		{name: "a stick by its serial", disks: [][]string{vda, sdb[:10]}, rule: Rule{Serial: "4C53"}, want: "sdb"},
		{name: "the medium by its serial", disks: [][]string{vda, sdb}, rule: Rule{Serial: "4C53"}, wantErr: ErrBusy, text: "the boot medium"},
		{name: "the medium by size", disks: [][]string{vda, sdb}, rule: Rule{MinSize: 16e9}, wantErr: ErrNone, text: "disk-a"},
		{name: "two", disks: [][]string{vda, vdb}, wantErr: ErrAmbiguous, text: "vda, serial disk-a, 10.7 GB; vdb, serial disk-b, 10.7 GB"},
		{name: "two of which one is in use", disks: [][]string{vda, sda}, mounts: busy, wantErr: ErrAmbiguous, text: "sda1 is mounted on /"},
		{name: "by serial", disks: [][]string{vda, vdb}, rule: Rule{Serial: "disk-b"}, want: "vdb"},
		{name: "by a part of a serial", disks: [][]string{vda, vdb}, rule: Rule{Serial: "disk-"}, wantErr: ErrNone, text: `serial "disk-"; there are: vda`},
		{name: "by wwid", disks: [][]string{vda, nvme}, rule: Rule{ID: "eui.0025388b91b1b1b1"}, want: "nvme0n1"},
		{name: "by-id", disks: [][]string{vda, sda}, rule: Rule{ID: "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"}, want: "sda"},
		{name: "by serial and another's ID", disks: [][]string{vda, sda}, rule: Rule{Serial: "disk-a", ID: "naa.5000c500a1b2c3d4"}, wantErr: ErrNone},
		{name: "by serial, in use", disks: [][]string{vda, sda}, mounts: busy, rule: Rule{Serial: "QM0001"}, wantErr: ErrBusy, text: "sda1 is mounted on /"},
		{name: "by serial, read-only", disks: [][]string{vda, vdc}, rule: Rule{Serial: "disk-c"}, wantErr: ErrBusy, text: "read-only"},
		{name: "by serial, too small", disks: [][]string{vda, sda}, rule: Rule{Serial: "disk-a"}, need: 12 << 30, wantErr: ErrTooSmall, text: "the image needs 12.9 GB"},
		{name: "by a serial that two have", disks: [][]string{vda, append(slices.Clone(vdb), "serial=disk-a")}, rule: Rule{Serial: "disk-a", Pick: PickLargest}, wantErr: ErrAmbiguous},
		{name: "smallest", disks: [][]string{sda, nvme, vda}, rule: Rule{Pick: PickSmallest}, want: "vda"},
		{name: "smallest that has room", disks: [][]string{sda, nvme, vda}, rule: Rule{Pick: PickSmallest}, need: 12 << 30, want: "sda"},
		{name: "smallest, in use", disks: [][]string{sda, nvme}, mounts: busy, rule: Rule{Pick: PickSmallest}, wantErr: ErrBusy},
		{name: "smallest of two that are equal", disks: [][]string{sda, vda, vdb}, rule: Rule{Pick: PickSmallest}, wantErr: ErrAmbiguous, text: "equally large"},
		{name: "largest beside two that are equal", disks: [][]string{sda, vda, vdb}, rule: Rule{Pick: PickLargest}, want: "sda"},
		{name: "largest", disks: [][]string{sda, nvme, vda}, rule: Rule{Pick: PickLargest}, want: "nvme0n1"},
		{name: "by size", disks: [][]string{sda, nvme, vda}, rule: Rule{MinSize: 20e9, MaxSize: 30e9}, want: "sda"},
		{name: "by size, none", disks: [][]string{sda, vda}, rule: Rule{MinSize: 1e12}, wantErr: ErrNone, text: "at least 1000.0 GB"},
		{name: "odd pick", disks: [][]string{vda}, rule: Rule{Pick: "first"}, wantErr: ErrNone, text: `"first"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Choose(list(t, test.mounts, "", test.disks...), test.rule, max(test.need, need))
			if !errors.Is(err, test.wantErr) || got.Name != test.want || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("Choose = %s, %v; want %s, %v with %q", got.Name, err, test.want, test.wantErr, test.text)
			}
		})
	}
}

// TestRuleIsTheManifests keeps both types convertible.
func TestRuleIsTheManifests(t *testing.T) {
	got := Rule(manifest.Disk{Serial: "a", ID: "b", MinSize: 1, MaxSize: 2, Pick: manifest.PickOnly})
	if got != (Rule{"a", "b", 1, 2, PickOnly}) || PickSmallest != manifest.PickSmallest || PickLargest != manifest.PickLargest {
		t.Errorf("%+v", got)
	}
}
