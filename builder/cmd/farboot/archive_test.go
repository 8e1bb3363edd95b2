package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/source/aptsim"
)

// release is the kernel's in the archive.
const release = "6.1.0-1-amd64"

// installer is where the Debian installer's package has its files.
const installer = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/"

// archive holds small stand-ins for the Debian packages that media and sites
// are made of, by name. GRUB's modules are real: there is no small stand-in for
// what is linked.
type archive map[string]aptsim.Package

// newArchive makes the packages.
func newArchive(t testing.TB) archive {
	t.Helper()
	modules := "lib/modules/" + release + "/"
	drivers := modules + "kernel/drivers/"
	a := archive{}
	for _, p := range []aptsim.Package{
		{Name: "linux-image-amd64", Fields: map[string]string{"Depends": "linux-image-" + release}},
		{Name: "linux-image-" + release, Fields: map[string]string{"Depends": "kmod, linux-base (>= 4.3~)"}, Files: map[string]string{
			"boot/vmlinuz-" + release:           "a kernel",
			modules + "modules.builtin":         "kernel/fs/ext4/ext4.ko\n",
			drivers + "virtio/virtio_pci.ko":    module("virtio_pci", "depends=virtio", "alias=pci:v00001AF4d*"),
			drivers + "virtio/virtio.ko":        module("virtio", "depends="),
			drivers + "net/virtio_net.ko":       module("virtio_net", "depends=virtio", "alias=virtio:d00000001v*"),
			drivers + "net/ethernet/e1000.ko":   module("e1000", "depends=", "alias=pci:v00008086d0000100E*"),
			drivers + "usb/host/xhci_hcd.ko":    module("xhci_hcd", "depends="),
			drivers + "usb/storage/usb_stor.ko": module("usb_stor", "depends="),
		}},
		{Name: "shim-signed", Files: map[string]string{"usr/lib/shim/shimx64.efi.signed": "shim"}},
		{Name: "grub-efi-amd64-signed", Files: map[string]string{
			"usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed":     "GRUB for media",
			"usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed": "GRUB for networks",
		}},
		{Name: "grub-pc-bin", Files: grubFiles(t)},
		{Name: "memtest86+", Files: map[string]string{"boot/memtest86+x64.bin": "a memory test"}},
		{Name: "debian-installer-12-netboot-amd64", Arch: "all", Files: map[string]string{
			installer + "linux": "the installer's kernel", installer + "initrd.gz": "the installer's initrd",
		}},
	} {
		a[p.Name] = p
	}
	for name, p := range a {
		a[name] = withDeb(t, p)
	}
	return a
}

// packages returns the archive as it is in a version: all packages of version 1
// are "1-1", those of version 2 "2-1".
func (a archive) packages(version int) []aptsim.Package {
	var all []aptsim.Package
	for _, p := range a {
		if p.Version = fmt.Sprintf("%d-1", version); version != 1 {
			p.Deb = nil // made anew, with the version in it
		}
		all = append(all, p)
	}
	return all
}

// withDeb makes a package's bytes, so that the mirrors need not do it again.
func withDeb(t testing.TB, p aptsim.Package) aptsim.Package {
	t.Helper()
	m := aptsim.New(t)
	p.Version = "1-1"
	if p.Arch == "" {
		p.Arch = "amd64"
	}
	m.Suite("x").Add(p)
	m.Publish()
	p.Deb = m.File(fmt.Sprintf("pool/x/%s_1-1_%s.deb", p.Name, p.Arch))
	return p
}

// grubFiles returns what Debian's package grub-pc-bin holds, from the machine's.
func grubFiles(t testing.TB) map[string]string {
	t.Helper()
	dir := "/usr/lib/grub/i386-pc"
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[dir[1:]+"/"+path] = string(data)
		return err
	})
	if err != nil || len(files) < 100 {
		t.Fatalf("this test needs Debian's package grub-pc-bin: %d files in %s, %v", len(files), dir, err)
	}
	return files
}

// agent puts a stand-in for the agent beside the farboot command, where "make"
// puts the real one.
func agent(t testing.TB) {
	t.Helper()
	farboot, err := exec.LookPath("farboot")
	if err != nil {
		t.Fatal(err)
	}
	program := elfFile(elf.ET_EXEC, nil)
	if err := os.WriteFile(filepath.Join(filepath.Dir(farboot), "farboot-agent"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
}

// module returns a kernel module that says of itself what modinfo has.
func module(name string, modinfo ...string) string {
	text := "name=" + name + "\x00"
	for _, line := range modinfo {
		text += line + "\x00"
	}
	return elfFile(elf.ET_REL, []byte(text))
}

// elfFile returns an x86-64 ELF file with nothing in it but, unless it is nil,
// a section .modinfo.
func elfFile(kind elf.Type, modinfo []byte) string {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	size := uint64(binary.Size(elf.Header64{}))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(kind), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: uint16(size),
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: size, Size: uint64(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: size + uint64(len(modinfo)), Size: uint64(len(names))},
	}
	if modinfo != nil {
		header.Shoff = size + uint64(len(modinfo)+len(names))
		header.Shentsize, header.Shnum, header.Shstrndx = uint16(binary.Size(elf.Section64{})), uint16(len(sections)), 2
	}
	var b bytes.Buffer
	for _, part := range []any{header, modinfo, []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // a type of no fixed size
		}
	}
	return b.String()
}
