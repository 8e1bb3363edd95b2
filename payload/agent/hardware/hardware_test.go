package hardware

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/google/go-cmp/cmp"
)

// tree makes a file tree of one-line files; "-> target" makes a symbolic link.
func tree(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			fsys[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		fsys[name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	return fsys
}

// sys is a machine with two wired cards, a wireless one, a bridge and a
// controller without a driver.
func sys() fstest.MapFS {
	return tree(map[string]string{
		"class/dmi/id/sys_vendor":             "QEMU",
		"class/dmi/id/product_name":           "Standard PC",
		"class/dmi/id/product_uuid":           "6F1B9A52-3D4C-4E5F-8A9B-0C1D2E3F4A5B",
		"class/dmi/id/product_serial":         "ABC123 ",
		"class/net/lo/type":                   "772",
		"class/net/eth1/type":                 "1",
		"class/net/eth1/address":              "52:54:00:12:34:56",
		"class/net/eth1/carrier":              "1",
		"class/net/eth1/device/driver":        "-> ../../../../bus/virtio/drivers/virtio_net",
		"class/net/eth0/type":                 "1",
		"class/net/eth0/address":              "00:11:22:AA:BB:CC",
		"class/net/eth0/carrier":              "0",
		"class/net/eth0/device/vendor":        "0x8086",
		"class/net/wlan0/type":                "1",
		"class/net/wlan0/address":             "00:11:22:33:44:66",
		"class/net/wlan0/device/vendor":       "0x8086",
		"class/net/wlan0/phy80211/name":       "phy0",
		"class/net/br0/type":                  "1",
		"class/net/br0/address":               "00:11:22:33:44:77",
		"bus/pci/devices/0000:01:00.0/class":  "0x020000",
		"bus/pci/devices/0000:01:00.0/vendor": "0x8086",
		"bus/pci/devices/0000:01:00.0/device": "0x1533",
		"bus/pci/devices/0000:00:03.0/class":  "0x020000",
		"bus/pci/devices/0000:00:03.0/driver": "-> ../../../bus/pci/drivers/virtio-pci",
		"bus/pci/devices/0000:00:02.0/class":  "0x030000",
	})
}

func TestIdentity(t *testing.T) {
	want := manifest.Identity{
		MACs:   []string{"00:11:22:aa:bb:cc", "52:54:00:12:34:56"},
		UUID:   "6f1b9a52-3d4c-4e5f-8a9b-0c1d2e3f4a5b",
		Serial: "ABC123",
	}
	if diff := cmp.Diff(want, Identity(sys())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(manifest.Identity{}, Identity(fstest.MapFS{})); diff != "" {
		t.Errorf("of a machine without SMBIOS and cards: %s", diff)
	}
}

func TestModel(t *testing.T) {
	if got := Model(sys()); got != "QEMU Standard PC" {
		t.Errorf("Model = %q", got)
	}
	if got := Model(fstest.MapFS{}); got != "unknown machine" {
		t.Errorf("Model without SMBIOS = %q", got)
	}
}

func TestNICs(t *testing.T) {
	want := []NIC{
		{Name: "eth0", MAC: "00:11:22:aa:bb:cc", Driver: "unknown driver"},
		{Name: "eth1", MAC: "52:54:00:12:34:56", Driver: "virtio_net"},
	}
	if diff := cmp.Diff(want, NICs(sys(), nil)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1:], NICs(sys(), map[string]bool{"eth0": true})); diff != "" {
		t.Errorf("with eth0 known: %s", diff)
	}
	young := sys()
	delete(young, "class/net/eth0/address")
	if diff := cmp.Diff(want[1:], NICs(young, nil)); diff != "" {
		t.Errorf("with eth0 just appearing: %s", diff)
	}
	if Carrier(sys(), "eth0") || !Carrier(sys(), "eth1") || Carrier(sys(), "eth9") {
		t.Error("carrier: want it on eth1 only")
	}
}

func TestDriverless(t *testing.T) {
	if diff := cmp.Diff([]string{"8086:1533 at 0000:01:00.0"}, Driverless(sys())); diff != "" {
		t.Error(diff)
	}
}

// What firmware holds by default is the same on thousands of machines.
func TestMeaningful(t *testing.T) {
	for _, s := range []string{
		"", "To Be Filled By O.E.M.", "Default string", "00000000-0000-0000-0000-000000000000",
		"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "0", "xxxxxxx", "....", "System Serial Number",
		"03000200-0400-0500-0006-000700080009", "Not Specified", " ",
	} {
		if got := meaningful(s); got != "" {
			t.Errorf("meaningful(%q) = %q, want nothing", s, got)
		}
	}
	for _, s := range []string{"ABC123", "0F0F", "00000001"} {
		if got := meaningful(s); got != s {
			t.Errorf("meaningful(%q) = %q, want it as it is", s, got)
		}
	}
}

// machine is a fake: inserting a driver makes the devices behind it appear.
type machine struct {
	sysfs    fstest.MapFS
	behind   map[string]map[string]string // file name -> new files in sysfs
	fail     map[string]error
	inserted []string
}

func (m *machine) insert(file string) error {
	m.inserted = append(m.inserted, file)
	for name, content := range m.behind[file] {
		m.sysfs[name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	return m.fail[file]
}

// modulesDir writes the index files of depmod(8) into a new directory.
func modulesDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"modules.dep": "kernel/virtio_ring.ko:\nkernel/virtio.ko: kernel/virtio_ring.ko\n" +
			"kernel/virtio_pci.ko: kernel/virtio.ko kernel/virtio_ring.ko\n" +
			"kernel/virtio_net.ko: kernel/virtio.ko kernel/virtio_ring.ko\nkernel/e1000e.ko:\nkernel/r8152.ko:\nkernel/realtek.ko:\nkernel/aquantia.ko:\n",
		"modules.alias": "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n" +
			"alias virtio:d00000001v* virtio_net\nalias pci:v00008086d00001533sv*sd*bc*sc*i* e1000e\nalias usb:v0BDAp8153* r8152\n" +
			"alias mdio:0000000000011100110010010001???? realtek\nalias mdio:0011000111000011000111000001???? aquantia\n",
		"modules.softdep": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines collects what is logged.
type lines []string

func (l *lines) log(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

const (
	virtioPCI = "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"
	intel     = "pci:v00008086d00001533sv00008086sd00000001bc02sc00i00"
)

// The loader follows buses downwards, loads each file once and in order, and
// goes on after one that fails. What appears later is served as well.
func TestScan(t *testing.T) {
	m := &machine{
		sysfs: tree(map[string]string{
			"bus/pci/devices/0/modalias": virtioPCI,
			"bus/pci/devices/1/modalias": intel,
			"bus/pci/devices/2/modalias": intel,
			"bus/acpi/devices/P/status":  "15",
		}),
		behind: map[string]map[string]string{
			"kernel/virtio_pci.ko": {"bus/virtio/devices/virtio0/modalias": "virtio:d00000001v00001AF4"},
		},
		fail: map[string]error{"kernel/e1000e.ko": errors.New("exec format error")},
	}
	var log lines
	l := NewLoader(m.sysfs, modulesDir(t), log.log)
	l.insert = m.insert
	l.scan()
	want := []string{
		"kernel/virtio_ring.ko", "kernel/virtio.ko", "kernel/virtio_pci.ko",
		"kernel/e1000e.ko", "kernel/virtio_net.ko",
	}
	if diff := cmp.Diff(want, m.inserted); diff != "" {
		t.Errorf("inserted: %s", diff)
	}
	wantLog := lines{
		"hardware: driver e1000e: e1000e.ko: exec format error",
		"hardware: drivers loaded: virtio_pci virtio_net",
	}
	if diff := cmp.Diff(wantLog, log); diff != "" {
		t.Errorf("logged: %s", diff)
	}

	if again := l.fresh(); len(again) != 0 {
		t.Errorf("a second look finds %q new", again)
	}

	// An USB port's first guest has its driver; the second one needs one.
	const port = "bus/usb/devices/1-1:1.0/modalias"
	m.inserted, log = nil, nil
	m.sysfs[port] = &fstest.MapFile{Data: []byte("virtio:d00000001v2")}
	l.scan()
	if len(m.inserted) != 0 || len(log) != 0 {
		t.Errorf("a card of a loaded driver: inserted %q, logged %q", m.inserted, log)
	}
	delete(m.sysfs, port)
	l.scan()
	m.sysfs[port] = &fstest.MapFile{Data: []byte("usb:v0BDAp8153")}
	l.scan()
	if diff := cmp.Diff([]string{"kernel/r8152.ko"}, m.inserted); diff != "" {
		t.Errorf("another card in the same port: %s", diff)
	}
}

// The PHY behind a card has an id in the place of a modalias; it appears when the
// card's driver comes. What is no id, or nobody's, loads nothing.
func TestScanPHY(t *testing.T) {
	m := &machine{
		sysfs: tree(map[string]string{
			"bus/pci/devices/0/modalias":                             intel,
			"bus/mdio_bus/devices/fixed-0:00/phy_id":                 "0x00000000",
			"bus/mdio_bus/devices/fixed-0:01/phy_id":                 "0x1001cc916",
			"bus/mdio_bus/devices/fixed-0:02/phy_id":                 "001cc916x",
			"bus/mdio_bus/devices/fixed-0:03/uevent":                 "",
			"bus/mdio_bus/devices/r8169-0-9:00/phy_id":               "0x001cc926",
			"bus/mdio_bus/devices/x-1:00/phy_id":                     "0x00000000",
			"bus/mdio_bus/devices/x-1:00/c45_phy_ids/mmd1_device_id": "0x31c31c12",
			"bus/mdio_bus/devices/x-1:00/c45_phy_ids/mmd2_device_id": "0xffffffff",
		}),
		behind: map[string]map[string]string{
			"kernel/e1000e.ko": {"bus/mdio_bus/devices/r8169-0-300:00/phy_id": "0x001cc916"},
		},
	}
	var log lines
	l := NewLoader(m.sysfs, modulesDir(t), log.log)
	l.insert = m.insert
	l.scan()
	if diff := cmp.Diff([]string{"kernel/aquantia.ko", "kernel/e1000e.ko", "kernel/realtek.ko"}, m.inserted); diff != "" {
		t.Errorf("inserted: %s", diff)
	}
	if diff := cmp.Diff(lines{"hardware: drivers loaded: aquantia e1000e realtek"}, log); diff != "" {
		t.Errorf("logged: %s", diff)
	}
}

// What no hardware asks for is loaded by name, with what it needs, once.
func TestNeed(t *testing.T) {
	m := &machine{sysfs: tree(nil)}
	var log lines
	l := NewLoader(m.sysfs, modulesDir(t), log.log)
	l.insert = m.insert
	l.Need("virtio_net", "no_such_module")
	l.Need("virtio_net")
	if diff := cmp.Diff([]string{"kernel/virtio_ring.ko", "kernel/virtio.ko", "kernel/virtio_net.ko"}, m.inserted); diff != "" {
		t.Errorf("inserted: %s", diff)
	}
	if len(log) != 1 || !strings.Contains(log[0], "driver no_such_module: ") {
		t.Errorf("logged %q", log)
	}
}

// A dependency that fails, as crc32c-intel does on a processor without SSE 4.2,
// does not keep the driver out. A driver that fails itself is not called loaded.
func TestScanPastFailure(t *testing.T) {
	m := &machine{
		sysfs: tree(map[string]string{
			"bus/pci/devices/0/modalias": virtioPCI, "bus/virtio/devices/0/modalias": "virtio:d00000001v2",
		}),
		fail: map[string]error{
			"kernel/virtio_ring.ko": errors.New("no such device"), "kernel/virtio_net.ko": errors.New("unknown symbol"),
		},
	}
	var log lines
	l := NewLoader(m.sysfs, modulesDir(t), log.log)
	l.insert = m.insert
	l.scan()
	want := []string{"kernel/virtio_ring.ko", "kernel/virtio.ko", "kernel/virtio_pci.ko", "kernel/virtio_net.ko"}
	if diff := cmp.Diff(want, m.inserted); diff != "" {
		t.Errorf("inserted: %s", diff)
	}
	wantLog := lines{
		"hardware: driver virtio_pci: virtio_ring.ko: no such device",
		"hardware: driver virtio_net: virtio_net.ko: unknown symbol",
		"hardware: drivers loaded: virtio_pci",
	}
	if diff := cmp.Diff(wantLog, log); diff != "" {
		t.Errorf("logged: %s", diff)
	}
}

// A probe that hangs delays the boot by the limit and no more.
func TestLoaderHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		l := NewLoader(tree(map[string]string{"bus/pci/devices/0/modalias": virtioPCI}), modulesDir(t), log.log)
		release := make(chan struct{})
		l.insert = func(string) error { <-release; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		l.news = quiet
		go l.Run(ctx)
		start := time.Now()
		l.Wait(ctx, 20*time.Second)
		if waited := time.Since(start); waited != 20*time.Second {
			t.Errorf("waited %v, want 20 s", waited)
		}
		if len(log) != 1 || !strings.Contains(log[0], "still busy after 20 s") {
			t.Errorf("logged %q", log)
		}
		cancel()
		close(release)
	})
}

// After Drop the files are gone, the loader ends, and nobody complains.
func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		dir := modulesDir(t)
		l := NewLoader(fstest.MapFS{}, dir, log.log)
		done := make(chan struct{})
		l.news = quiet
		go func() { l.Run(t.Context()); close(done) }()
		l.Wait(t.Context(), time.Second)
		if err := l.Drop(); err != nil {
			t.Fatal(err)
		}
		<-done
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the modules are still there (%v)", err)
		}
		if len(log) != 0 {
			t.Errorf("logged %q", log)
		}
	})
}

// A medium without modules is one whose kernel has all built in: said, not fatal.
func TestNoModules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		l := NewLoader(tree(map[string]string{"bus/pci/devices/0/modalias": virtioPCI}), "/nonexistent", log.log)
		ctx, cancel := context.WithCancel(t.Context())
		l.news = quiet
		go l.Run(ctx)
		l.Wait(ctx, time.Second)
		cancel()
		if len(log) != 1 || !strings.Contains(log[0], "no drivers can be loaded") {
			t.Errorf("logged %q", log)
		}
	})
}
