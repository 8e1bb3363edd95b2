package kernel

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/modules"
)

const release = "6.1.0-test"

// synth is a module that a test makes up.
type synth struct {
	path string // below kernel/, without ".ko"
	info string // "key=value" strings, one per line, less name and depends
	// uses lists the paths of modules whose symbols this one needs.
	uses []string
}

// name is the module's name as the kernel has it.
func (s synth) name() string { return modules.Name(s.path + ".ko") }

// need returns the path of a foreign tool.
func need(t testing.TB, tool, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(tool)
	if err != nil {
		p, err = exec.LookPath("/sbin/" + tool)
	}
	if err != nil {
		t.Fatalf("%s is needed; install the Debian package %s", tool, pkg)
	}
	return p
}

// compile makes the module with a C compiler, so that depmod(8) finds what it
// looks for: .modinfo, exported and missing symbols.
func (s synth) compile(t testing.TB) []byte {
	t.Helper()
	var c strings.Builder
	section := func(section, text string) {
		fmt.Fprintf(&c, "static const char x%d[] __attribute__((section(%q), used, aligned(1))) = %q;\n", c.Len(), section, text)
	}
	var depends []string
	for _, u := range s.uses {
		name := modules.Name(u + ".ko")
		depends = append(depends, name)
		fmt.Fprintf(&c, "extern int sym_%s; int *use_%s = &sym_%s;\n", name, name, name)
	}
	section(".modinfo", "license=GPL")
	section(".modinfo", "depends="+strings.Join(depends, ","))
	for line := range strings.Lines(s.info) {
		section(".modinfo", strings.TrimSpace(line))
	}
	section(".modinfo", "name="+s.name())
	section("__ksymtab_strings", "sym_"+s.name())
	fmt.Fprintf(&c, "int sym_%s;\n", s.name())
	out := filepath.Join(t.TempDir(), "x.ko")
	cmd := exec.Command(need(t, "gcc", "gcc"), "-x", "c", "-c", "-o", out, "-")
	cmd.Stdin = strings.NewReader(c.String())
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// member is one file of a made-up package.
type member struct {
	name string
	data []byte
}

// walk returns what deb.Package's Walk is for a package of these files.
func walk(members ...member) func(func(*tar.Header, io.Reader) error) error {
	return func(f func(*tar.Header, io.Reader) error) error {
		for _, m := range members {
			h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Size: int64(len(m.data))}
			if strings.HasSuffix(m.name, "/") {
				h.Typeflag = tar.TypeDir
			}
			if err := f(h, bytes.NewReader(m.data)); err != nil {
				return err
			}
		}
		return nil
	}
}

// image is the member with the kernel.
var image = member{"./boot/vmlinuz-" + release, []byte("bzImage")}

// machine are modules that stand for a kernel's: an Ethernet driver that uses
// others and wishes for a PHY, names with '-', aliases of every kind.
var machine = []synth{
	{path: "drivers/virtio/virtio_pci", info: "alias=pci:v00001AF4d*sv*sd*bc*sc*i*", uses: []string{"drivers/virtio/virtio_ring"}},
	{path: "drivers/virtio/virtio_ring"},
	{path: "drivers/net/ethernet/realtek/r8169", uses: []string{"drivers/net/phy/libphy", "drivers/net/phy/mdio_devres"},
		info: "softdep=pre: realtek nothing-of-that-name\nfirmware=rtl_nic/b.fw\nfirmware=rtl_nic/a.fw\nalias=pci:v000010ECd00008168sv*sd*bc*sc*i*"},
	{path: "drivers/net/phy/mdio_devres", uses: []string{"drivers/net/phy/libphy"}},
	{path: "drivers/net/phy/libphy"},
	{path: "drivers/net/phy/realtek", uses: []string{"drivers/net/phy/libphy"}, info: "alias=mdio:0000000000011100110010010001????"},
	{path: "drivers/net/ethernet/mellanox/mlx4/mlx4_core", info: "alias=pci:v000015B3d00001003sv*sd*bc*sc*i*"},
	{path: "drivers/net/ethernet/mellanox/mlx4/mlx4_en", uses: []string{"drivers/net/ethernet/mellanox/mlx4/mlx4_core"}},
	{path: "drivers/net/ethernet/8390/pcnet_cs"},
	{path: "drivers/usb/host/xhci-hcd"},
	{path: "drivers/usb/host/xhci-pci", uses: []string{"drivers/usb/host/xhci-hcd"}, info: "alias=pci:v*d*sv*sd*bc0Csc03i30*\nfirmware=rtl_nic/a.fw"},
	{path: "fs/ext4/ext4", uses: []string{"fs/mbcache"}, info: "softdep=pre: crypto-crc32c\nalias=fs-ext4\nalias=ext3"},
	{path: "fs/mbcache"},
	{path: "arch/x86/crypto/crc32c-intel", info: "alias=crypto-crc32c\nalias=crc32c\nalias=cpu:type:x86,ven*fam*mod*:feature:*0094*"},
	{path: "crypto/crc32c_generic", info: "alias=crypto-crc32c\nalias=crc32c-generic"},
	{path: "drivers/input/touch-screen", info: "alias=of:N*T*Cacme,[a-c]-9"},
	{path: "fs/efivarfs/efivarfs", info: "alias=fs-efivarfs"},
	{path: "drivers/scsi/sd_mod", info: "alias=scsi:t-0x00*"},
	{path: "drivers/gpu/unused"},
}

// members returns the modules as files of a package.
func members(t testing.TB, synths ...synth) []member {
	all := []member{{"./", nil}, {"./boot/config-" + release, nil}}
	for _, s := range synths {
		all = append(all, member{"./lib/modules/" + release + "/kernel/" + s.path + ".ko", s.compile(t)})
	}
	return append(all, image)
}
