package persist

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/payload/fat"
)

// disk adds a disk with an EFI system partition and, if it is ours, one for the
// state, as sysfs shows them: folders below the disk's, and links to them. It
// returns the EFI system partition's node.
func (m *machine) disk(name string, ours bool) string {
	m.t.Helper()
	beside := "data"
	if ours {
		beside = "farboot state " + build
	}
	device := filepath.Join(m.sys, "devices/usb1", name)
	m.write(filepath.Join(device, "uevent"), "DEVNAME="+name+"\nDEVTYPE=disk\n")
	for part, uevent := range map[string]string{
		name + "1": "PARTN=1\nPARTNAME=EFI system partition\n", name + "2": "PARTN=2\nPARTNAME=" + beside + "\n",
	} {
		m.write(filepath.Join(device, part, "uevent"), "DEVNAME="+part+"\nDEVTYPE=partition\n"+uevent)
		m.write(filepath.Join(device, part, "ro"), "1\n") // a stick that is write-protected counts, too
		link := filepath.Join(m.sys, "class/block", part)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(filepath.Join(device, part), link)); err != nil {
			m.t.Fatal(err)
		}
	}
	node := filepath.Join(m.dev, name+"1")
	m.write(node, "")
	return node
}

// format makes a FAT file system with farboot/networks.json in a node.
func (m *machine) format(node, text string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "networks.json")
	m.write(file, text)
	for _, c := range []struct {
		debian string
		args   []string
	}{
		{"coreutils", []string{"truncate", "-s", "1M", node}},
		{"dosfstools", []string{"mkfs.fat", "-F", "12", node}},
		{"mtools", []string{"mmd", "-i", node, "::/farboot"}},
		{"mtools", []string{"mcopy", "-i", node, file, "::/farboot/networks.json"}},
	} {
		if out, err := exec.Command(c.args[0], c.args[1:]...).CombinedOutput(); err != nil {
			m.t.Fatalf("%q (Debian package %s): %v: %s", c.args, c.debian, err, out)
		}
	}
}

// A file of the stick that this medium is on is read, and of no other disk.
func TestReadFile(t *testing.T) {
	const name = "farboot/networks.json"
	m := newMachine(t)
	m.format(m.disk("sda", false), "another disk's")
	if _, _, err := m.open().ReadFile(name, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a stick: %v, want %v", err, fs.ErrNotExist)
	}
	node := m.disk("sdb", true)
	if _, from, err := m.open().ReadFile(name, 100); !errors.Is(err, fat.ErrMalformed) || from != "partition "+node {
		t.Errorf("without a file system: %v, from %s", err, from)
	}
	m.format(node, "ours")
	data, from, err := m.open().ReadFile(name, 100)
	if err != nil || !bytes.Equal(data, []byte("ours")) || from != "partition "+node {
		t.Errorf("ReadFile = %q, %q, %v", data, from, err)
	}
	data1 := filepath.Join(m.sys, "devices/usb1/sdb/sdb3")
	m.write(filepath.Join(data1, "uevent"), "DEVNAME=sdb3\nDEVTYPE=partition\nPARTN=3\nPARTNAME=farboot data\n")
	m.write(filepath.Join(m.dev, "sdb3"), "")
	m.format(filepath.Join(m.dev, "sdb3"), "better")
	if data, from, err := m.open().ReadFile(name, 100); err != nil || string(data) != "better" || from != "partition "+filepath.Join(m.dev, "sdb3") {
		t.Errorf("beside a partition for data: %q, %q, %v", data, from, err)
	}
	if out, err := exec.Command("mdel", "-i", filepath.Join(m.dev, "sdb3"), "::/farboot/networks.json").CombinedOutput(); err != nil {
		t.Fatalf("mdel (Debian package mtools): %v: %s", err, out)
	}
	if data, _, err := m.open().ReadFile(name, 100); err != nil || string(data) != "ours" {
		t.Errorf("beside an empty partition for data: %q, %v", data, err)
	}
	if _, _, err := m.open().ReadFile("farboot/other", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another file: %v", err)
	}
	if _, _, err := m.open().ReadFile(name, 3); err == nil {
		t.Error("a file that is too large was read")
	}
}
