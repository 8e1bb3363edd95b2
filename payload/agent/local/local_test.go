package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// run runs a tool of the Debian package named.
func run(t *testing.T, pkg, tool string, args ...string) {
	t.Helper()
	name, err := exec.LookPath(tool)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			name, err = exec.LookPath(filepath.Join(dir, tool))
		}
	}
	if err != nil {
		t.Fatalf("%v: install %s", err, pkg)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
}

// image makes a file of 4 MiB, and lets a tool format it.
func image(t *testing.T, pkg, tool string, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if tool != "" {
		run(t, pkg, tool, append(args, name)...)
	}
	return name
}

// stamped is an image with bytes at places.
func stamped(t *testing.T, stamps map[int]string) string {
	name := image(t, "", "")
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, text := range stamps {
		if _, err := f.WriteAt([]byte(text), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func TestProbe(t *testing.T) {
	const id = "0a1b2c3d-1111-2222-3333-444455556666"
	raw := "\x0a\x1b\x2c\x3d\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x66\x66"
	for name, tc := range map[string]struct {
		image      string
		kind, uuid string
		options    string
	}{
		"ext4":     {image(t, "e2fsprogs", "mke2fs", "-q", "-t", "ext4", "-U", id), "ext4", id, "noload"},
		"ext3":     {image(t, "e2fsprogs", "mke2fs", "-q", "-t", "ext3", "-U", id), "ext4", id, "noload"},
		"ext2":     {image(t, "e2fsprogs", "mke2fs", "-q", "-t", "ext2", "-U", id), "ext2", id, "noload"},
		"journal":  {image(t, "e2fsprogs", "mke2fs", "-q", "-O", "journal_dev"), "jbd", "", ""},
		"FAT12":    {image(t, "dosfstools", "mkfs.vfat", "-F12", "-i", "f00dcafe"), "vfat", "F00D-CAFE", "codepage=437,iocharset=ascii"},
		"FAT16":    {image(t, "dosfstools", "mkfs.vfat", "-F16", "-s1", "-i", "f00dcafe"), "vfat", "F00D-CAFE", "codepage=437,iocharset=ascii"},
		"FAT32":    {image(t, "dosfstools", "mkfs.vfat", "-F32", "-s1", "-i", "f00dcafe"), "vfat", "F00D-CAFE", "codepage=437,iocharset=ascii"},
		"xfs":      {stamped(t, map[int]string{0: "XFSB", 32: raw}), "xfs", id, "norecovery"},
		"btrfs":    {stamped(t, map[int]string{65536 + 64: "_BHRfS_M", 65536 + 32: raw}), "btrfs", id, "rescue=nologreplay"},
		"LUKS":     {stamped(t, map[int]string{0: "LUKS\xba\xbe\x00\x02"}), "crypto_LUKS", "", ""},
		"LVM":      {stamped(t, map[int]string{512: "LABELONE", 536: "LVM2 001"}), "LVM2_member", "", ""},
		"RAID":     {stamped(t, map[int]string{4096: "\xfc\x4e\x2b\xa9"}), "linux_raid_member", "", ""},
		"nothing":  {image(t, "", ""), "", "", ""},
		"MBR only": {stamped(t, map[int]string{510: "\x55\xaa"}), "", "", ""},
	} {
		got, err := probeDevice(tc.image)
		if err != nil || got.kind != tc.kind || tc.uuid != "" && got.uuid != tc.uuid || got.options != tc.options || (got.driver == "") != (tc.options == "") {
			t.Errorf("%s: %+v, %v; want %s, %s, %q", name, got, err, tc.kind, tc.uuid, tc.options)
		}
	}
	if got, err := probe(bytes.NewReader([]byte("short"))); err != nil || got.kind != "" {
		t.Errorf("short: %+v, %v", got, err)
	}
}

// FuzzProbe: a partition may hold anything.
func FuzzProbe(f *testing.F) {
	f.Add([]byte("XFSB"))
	f.Add(append(make([]byte, 1024+0x38), 0x53, 0xef))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := probe(bytes.NewReader(data)); err != nil || got.driver != "" && got.uuid == "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestListDisks(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, data := range map[string]string{
		"sda/size": "100", "sda/sda1/partition": "1", "sda/sda10/partition": "10", "sda/sda2/partition": "2", "sda/queue/x": "",
		"sda/device/vpd_pg80": "\x00\x80\x00\x08  WD-1234", "sda/device/wwid": "naa.5000\n",
		"vda/size": "100", "vda/serial": "root-disk\n",
		"nvme0n1/size": "100", "nvme0n1/wwid": "eui.1\n", "nvme0n1/device/serial": "S4 \n", "nvme0n1/nvme0n1p1/partition": "1",
		"sdb/size": "0", "sr0/size": "100", "loop0/size": "100", "dm-0/size": "100", "md127/size": "1", "fd0/size": "1", "zram0/size": "1", "ram1/size": "1",
		"cciss!c0d0/size": "100",
	} {
		fsys["block/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	disks, err := listDisks(fsys)
	want := []disk{
		{"nvme0n1", []string{"nvme0n1p1"}, []string{"eui.1", "S4"}},
		{"sda", []string{"sda1", "sda2", "sda10"}, []string{"naa.5000", "WD-1234"}},
		{"vda", []string{"vda"}, []string{"root-disk"}},
	}
	if diff := cmp.Diff(want, disks, cmp.AllowUnexported(disk{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// lab is a made-up machine: partitions with an image to probe and a folder that
// stands for what is in it.
type lab struct {
	t       *testing.T
	sysfs   fstest.MapFS
	dev     string
	folders map[string]string // by device
	mu      sync.Mutex
	said    []string
	modules []string
	mounted map[string]bool
}

func newLab(t *testing.T) *lab {
	return &lab{t: t, sysfs: fstest.MapFS{}, dev: t.TempDir(), folders: map[string]string{}, mounted: map[string]bool{}}
}

// add adds a partition of sda with what probe is to see and files.
func (l *lab) add(part string, stamps map[int]string, files map[string]string) string {
	l.t.Helper()
	l.sysfs["block/sda/size"] = &fstest.MapFile{Data: []byte("100\n")}
	l.sysfs["block/sda/"+part+"/partition"] = &fstest.MapFile{Data: []byte("1\n")}
	device, folder := filepath.Join(l.dev, part), l.t.TempDir()
	if err := os.Rename(stamped(l.t, stamps), device); err != nil {
		l.t.Fatal(err)
	}
	for name, text := range files {
		name = filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			l.t.Fatal(err)
		}
	}
	l.folders[device] = folder
	return folder
}

// mount puts a link in the place of a mount.
func (l *lab) mount(device, dir string, f filesystem) (func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mounted[device] = true
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.mounted, device)
		return os.Remove(dir)
	}, os.Symlink(l.folders[device], dir)
}

func (l *lab) find() ([]System, func() error, error) {
	return find(context.Background(), l.config(), l.mount)
}

func (l *lab) config() Config {
	return Config{
		Sysfs: l.sysfs, Dev: l.dev, Dir: l.t.TempDir(),
		LoadModule: func(name string) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.modules = append(l.modules, name)
			return nil
		},
		Log: func(format string, args ...any) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.said = append(l.said, fmt.Sprintf(format, args...))
		},
	}
}

// rootID is a file system's UUID as it lies on the disk: debianUUID.
const rootID = "\x0a\x1b\x2c\x3d\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x66\x66"

// debian is a root file system with two kernels.
func debian(t *testing.T) map[string]string {
	return map[string]string{
		"boot/grub/grub.cfg":          testdata(t, "debian.cfg"),
		"boot/vmlinuz-6.1.0-18-amd64": "kernel 18", "boot/initrd.img-6.1.0-18-amd64": "initrd 18",
		"boot/vmlinuz-6.1.0-17-amd64": "kernel 17", "boot/initrd.img-6.1.0-17-amd64": "initrd 17",
	}
}

func TestFind(t *testing.T) {
	l := newLab(t)
	l.add("sda1", map[int]string{510: "\x55\xaa", 54: "FAT16   "}, map[string]string{
		"loader/entries/systemd.conf": testdata(t, "systemd.conf"), // its kernel is gone
		"EFI/debian/grub.cfg":         "search.fs_uuid x root\n",
	})
	l.add("sda2", map[int]string{0: "XFSB", 32: rootID}, debian(t))
	l.add("sda3", map[int]string{0: "LUKS\xba\xbe"}, nil)
	systems, cleanup, err := l.find()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range systems {
		got = append(got, s.Partition+" "+s.FSUUID+" "+s.Title)
	}
	// "with Linux 6.1.0-18" is the default under another name.
	if diff := cmp.Diff([]string{
		"sda2 " + debianUUID + " Debian GNU/Linux",
		"sda2 " + debianUUID + " Debian GNU/Linux, with Linux 6.1.0-18-amd64 (recovery mode)",
		"sda2 " + debianUUID + " Debian GNU/Linux, with Linux 6.1.0-17-amd64",
	}, got); diff != "" {
		t.Error(diff)
	}
	for i, open := range []func() (*os.File, error){systems[0].OpenKernel, func() (*os.File, error) { return systems[0].OpenInitrd(0) }} {
		f, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(f); err != nil || string(data) != []string{"kernel 18", "initrd 18"}[i] {
			t.Errorf("file %d reads %q, %v", i, data, err)
		}
		f.Close()
	}
	if want := `local: sda1: "Debian GNU/Linux 12 (bookworm)" cannot be started`; len(l.said) != 1 || !strings.HasPrefix(l.said[0], want) {
		t.Errorf("said %q; want %q", l.said, want)
	}
	if diff := cmp.Diff([]string{"nls_cp437", "nls_ascii", "vfat", "xfs"}, l.modules); diff != "" {
		t.Error(diff)
	}
	if err := cleanup(); err != nil || len(l.mounted) != 0 {
		t.Errorf("cleanup: %v, mounted %v", err, l.mounted)
	}
	if _, err := systems[0].OpenKernel(); err == nil {
		t.Error("opened after cleanup")
	}
}

// TestFindNothing: the error names what is there, and nothing stays mounted.
func TestFindNothing(t *testing.T) {
	l := newLab(t)
	l.add("sda1", nil, nil)
	if _, _, err := l.find(); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "1 disks without") {
		t.Errorf("error %v", err)
	}
	l.add("sda2", map[int]string{0: "LUKS\xba\xbe"}, nil)
	l.add("sda3", map[int]string{0: "XFSB"}, map[string]string{"boot/grub/grub.cfg": "menuentry 'x' {"})
	_, _, err := l.find()
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "seen: crypto_LUKS on sda2, xfs on sda3") || len(l.mounted) != 0 {
		t.Errorf("error %v, mounted %v", err, l.mounted)
	}
	if len(l.said) != 1 || !strings.Contains(l.said[0], "a block does not end") {
		t.Errorf("said %q", l.said)
	}
}

// TestNoWayOut: links and odd files of a disk lead nowhere.
func TestNoWayOut(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	menu := func(kernel string) map[string]string {
		return map[string]string{"grub/grub.cfg": "menuentry x {\nlinux " + kernel + " root=/dev/sda1\n}", "good": "kernel"}
	}
	for name, tc := range map[string]struct {
		kernel  string
		prepare func(folder string) error
		ok      bool
	}{
		"good":          {"/good", nil, true},
		"link inside":   {"/l", func(d string) error { return os.Symlink("good", d+"/l") }, true},
		"link outside":  {"/l", func(d string) error { return os.Symlink(outside, d+"/l") }, false},
		"relative link": {"/l", func(d string) error { return os.Symlink("../../../.."+outside, d+"/l") }, false},
		"dots":          {"/../../../../../.." + outside, nil, false},
		"folder link":   {"/l/secret", func(d string) error { return os.Symlink(filepath.Dir(outside), d+"/l") }, false},
		"pipe":          {"/p", func(d string) error { return exec.Command("mkfifo", d+"/p").Run() }, false},
		"folder":        {"/grub", nil, false},
		"huge": {"/h", func(d string) error {
			return errors.Join(os.WriteFile(d+"/h", nil, 0o600), os.Truncate(d+"/h", maxKernel+1))
		}, false},
		"configuration is a pipe": {"/good", func(d string) error {
			return errors.Join(os.Remove(d+"/grub/grub.cfg"), exec.Command("mkfifo", d+"/grub/grub.cfg").Run())
		}, false},
		"configuration is huge": {"/good", func(d string) error { return os.Truncate(d+"/grub/grub.cfg", maxConfig+1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			folder := l.add("sda1", map[int]string{0: "XFSB"}, menu(tc.kernel))
			if tc.prepare != nil {
				if err := tc.prepare(folder); err != nil {
					t.Fatal(err)
				}
			}
			systems, cleanup, err := l.find()
			if (err == nil) != tc.ok || tc.ok && len(systems) != 1 {
				t.Errorf("%+v, %v, said %q", systems, err, l.said)
			}
			if err == nil {
				cleanup()
			} else if len(l.said) == 0 {
				t.Error("nothing was said")
			}
		})
	}
}

// TestSilentDisk: a disk that does not answer costs 20 s and no other disk, and
// leaves nothing mounted should it answer later.
func TestSilentDisk(t *testing.T) {
	l := newLab(t)
	l.add("sda1", map[int]string{0: "XFSB", 32: rootID}, debian(t))
	l.add("sdb1", map[int]string{0: "XFSB"}, debian(t))
	delete(l.sysfs, "block/sda/sdb1/partition")
	l.sysfs["block/sdb/sdb1/partition"] = &fstest.MapFile{Data: []byte("1\n")}
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		systems, cleanup, err := find(context.Background(), Config{
			Sysfs: l.sysfs, Dev: l.dev, Dir: l.t.TempDir(), LoadModule: func(string) error { return nil },
			Log: func(format string, args ...any) { l.said = append(l.said, fmt.Sprintf(format, args...)) },
		}, func(device, dir string, f filesystem) (func() error, error) {
			if strings.HasSuffix(device, "sdb1") {
				<-wake
			}
			return l.mount(device, dir, f)
		})
		if err != nil || len(systems) != 3 || !slices.Contains(l.said, "local: sdb: no answer after 20 s, it is left alone") {
			t.Errorf("%d systems, %v, said %q", len(systems), err, l.said)
		}
		if err := cleanup(); err != nil {
			t.Error(err)
		}
		close(wake)
		synctest.Wait()
		if len(l.mounted) != 0 {
			t.Errorf("mounted %v", l.mounted)
		}
	})
}

// TestScanPlaces: where the files may be.
func TestScanPlaces(t *testing.T) {
	menu := func(kernel string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("menuentry x {\nlinux " + kernel + " root=/dev/sda1\n}")}
	}
	kernel := &fstest.MapFile{Data: []byte("kernel")}
	for name, fsys := range map[string]fs.FS{
		"root":      fstest.MapFS{"boot/grub/grub.cfg": menu("/boot/v"), "boot/v": kernel},
		"boot":      fstest.MapFS{"grub/grub.cfg": menu("/v"), "v": kernel},
		"grub2":     fstest.MapFS{"grub2/grub.cfg": menu("/v"), "v": kernel},
		"subvolume": fstest.MapFS{"@/boot/grub/grub.cfg": menu("/@/boot/v"), "@/boot/v": kernel},
		"BLS":       fstest.MapFS{"loader/entries/a.conf": {Data: []byte("linux /v\noptions a\n")}, "v": kernel},
		"BLS root":  fstest.MapFS{"boot/loader/entries/a.conf": {Data: []byte("linux /boot/v\noptions a\n")}, "boot/v": kernel},
		"RHEL 8": fstest.MapFS{"loader/entries/a.conf": {Data: []byte("linux /v\noptions $kernelopts\n")}, "v": kernel,
			"grub2/grubenv": {Data: []byte("kernelopts=ro\n")}},
	} {
		if got := scan(fsys, "", t.Errorf); len(got) != 1 || got[0].Cmdline == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	var said []string
	log := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	bare := fstest.MapFS{"loader/entries/a.conf": {Data: []byte("linux /v\noptions $kernelopts\n")}, "v": kernel}
	if got := scan(bare, "", log); len(got) != 0 || len(said) != 1 || !strings.Contains(said[0], "no command line") {
		t.Errorf("without grubenv: %+v, said %q", got, said)
	}
}
