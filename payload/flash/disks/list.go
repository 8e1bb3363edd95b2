package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// List lists the disks of sysfs. Left out is what is no disk: memory, files, CDs,
// floppies, what is made of other disks, and readers without a card. proc is
// /proc. medium is the name of the
// partition by which the boot medium is known (state.PartitionName), "" for none.
func List(sys, proc fs.FS, medium string) ([]Disk, error) {
	used, err := readUse(sys, proc)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(sys, "block")
	if err != nil {
		return nil, err
	}
	var all []Disk
	for _, e := range entries {
		d := read(sys, e.Name())
		if isDisk(d.Name) && d.Size > 0 {
			d.InUse = used.of(sys, d)
			d.Medium = medium != "" && isMedium(sys, d, medium)
			all = append(all, d)
		}
	}
	return all, nil
}

// isDisk tells by the kernel's name of a device whether it may be a whole disk.
func isDisk(name string) bool {
	kind := strings.TrimRight(name, "0123456789")
	return !slices.Contains([]string{"dm-", "fd", "loop", "md", "nbd", "ram", "sr", "zram"}, kind) &&
		!strings.Contains(name, "!") &&
		!(strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.HasSuffix(name, "rpmb")))
}

// read reads what sysfs says of one device.
func read(sys fs.FS, name string) Disk {
	dir := path.Join("block", name)
	d := Disk{
		Name: name, Node: "/dev/" + name, Size: sectors(sys, dir), Bus: bus(sys, dir),
		Model:     first(sys, dir, "device/model", "device/name"),
		Serial:    first(sys, dir, "serial", "device/serial"),
		Removable: text(sys, path.Join(dir, "removable")) == "1",
		ReadOnly:  text(sys, path.Join(dir, "ro")) == "1",
	}
	if d.Serial == "" {
		d.Serial = vpdSerial(sys, dir)
	}
	if vendor := text(sys, path.Join(dir, "device/vendor")); d.Bus == "usb" || d.Bus == "scsi" {
		d.Model = strings.TrimSpace(vendor + " " + d.Model)
	}
	d.IDs = ids(d, first(sys, dir, "wwid", "device/wwid"))
	subs, _ := fs.ReadDir(sys, dir) // of a disk that is gone, the open will fail
	for _, sub := range subs {
		if _, err := fs.Stat(sys, path.Join(dir, sub.Name(), "partition")); err == nil {
			d.Partitions = append(d.Partitions, sub.Name())
		}
	}
	return d
}

// sectors returns the size in bytes of the device with this folder. sysfs counts
// in 512 bytes, whatever the disk's sectors are.
func sectors(sys fs.FS, dir string) int64 {
	n, err := strconv.ParseInt(text(sys, path.Join(dir, "size")), 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return 0
	}
	return n * 512
}

// bus tells how a disk is attached, from where the link of its device leads.
func bus(sys fs.FS, dir string) string {
	link, err := fs.ReadLink(sys, dir)
	if err != nil {
		link = dir
	}
	for _, b := range []struct{ part, bus string }{
		{"/usb", "usb"}, {"/nvme", "nvme"}, {"/virtio", "virtio"}, {"/mmc", "mmc"}, {"/ata", "ata"}, {"/host", "scsi"},
	} {
		if strings.Contains(link, b.part) {
			return b.bus
		}
	}
	return ""
}

// vpdSerial reads page 0x80 of SCSI's vital product data: four bytes, then the
// serial number (SPC-4, 7.8.13).
func vpdSerial(sys fs.FS, dir string) string {
	page, err := fs.ReadFile(sys, path.Join(dir, "device/vpd_pg80"))
	if err != nil || len(page) <= 4 {
		return ""
	}
	return printable(string(page[4:]))
}

// ids returns what a disk is known by besides its serial number: the wwid, and
// udev's names for it (rules.d/60-persistent-storage.rules of systemd).
func ids(d Disk, wwid string) []string {
	var all []string
	add := func(id string) {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	if wwid != "" {
		add(wwid)
	}
	if naa, ok := strings.CutPrefix(wwid, "naa."); ok {
		add("wwn-0x" + naa)
	}
	switch {
	case d.Bus == "nvme" && wwid != "":
		add("nvme-" + wwid)
	case d.Bus == "virtio" && d.Serial != "":
		add("virtio-" + d.Serial)
	}
	if d.Bus == "nvme" && d.Serial != "" {
		add("nvme-" + strings.ReplaceAll(d.Model, " ", "_") + "_" + d.Serial)
	}
	return all
}

// first returns the first of the files below dir that says something.
func first(sys fs.FS, dir string, names ...string) string {
	for _, name := range names {
		if s := text(sys, path.Join(dir, name)); s != "" {
			return s
		}
	}
	return ""
}

// text returns a file of sysfs without blanks around it, or "".
func text(sys fs.FS, name string) string {
	data, err := fs.ReadFile(sys, name)
	if err != nil {
		return ""
	}
	return printable(string(data))
}

// printable leaves out what a disk's maker may have put between letters: the
// text goes to screens and is compared with what somebody typed.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s))
}

// use is what the kernel says of devices in use: names and numbers of mounted
// ones and of swap, as "sda1" and "8:1", with where or as what.
type use map[string]string

// readUse reads what is mounted, used for swap, or behind a loop device.
func readUse(sys, proc fs.FS) (use, error) {
	used := use{}
	mounts, err := fs.ReadFile(proc, "self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) { // proc(5): 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		front, back, ok := strings.Cut(line, " - ")
		mount, fsType := strings.Fields(front), strings.Fields(back)
		if !ok || len(mount) < 5 || len(fsType) < 2 {
			return nil, fmt.Errorf("mountinfo: %q", line)
		}
		used[mount[2]] = "mounted on " + mount[4]
		if name, ok := strings.CutPrefix(fsType[1], "/dev/"); ok { // btrfs has numbers of its own
			used[name] = "mounted on " + mount[4]
		}
	}
	swaps, err := fs.ReadFile(proc, "swaps")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return nil, err
	}
	for line := range strings.Lines(string(swaps)) {
		if name, ok := strings.CutPrefix(line, "/dev/"); ok {
			used[strings.Fields(name)[0]] = "used for swap"
		}
	}
	loops, _ := fs.Glob(sys, "block/loop*/loop/backing_file") // the pattern is good
	for _, loop := range loops {
		if name, ok := strings.CutPrefix(text(sys, loop), "/dev/"); ok {
			used[name] = "behind " + strings.Split(loop, "/")[1]
		}
	}
	return used, nil
}

// of says what a disk or one of its partitions is used for, "" where it is not.
func (u use) of(sys fs.FS, d Disk) string {
	dir := path.Join("block", d.Name)
	for _, part := range append([]string{d.Name}, d.Partitions...) {
		at, prefix := dir, ""
		if part != d.Name {
			at, prefix = path.Join(dir, part), part+" is "
		}
		for _, key := range []string{part, text(sys, path.Join(at, "dev"))} {
			if how := u[key]; how != "" {
				return prefix + how
			}
		}
		holders, _ := fs.ReadDir(sys, path.Join(at, "holders")) // of one that is gone, the open will fail
		if len(holders) > 0 {
			return prefix + "held by " + holders[0].Name()
		}
	}
	return ""
}

// isMedium tells whether a disk has the partition by which a medium is known.
func isMedium(sys fs.FS, d Disk, partition string) bool {
	for _, part := range d.Partitions {
		uevent, err := fs.ReadFile(sys, path.Join("block", d.Name, part, "uevent"))
		if err == nil && slices.Contains(strings.Split(string(uevent), "\n"), "PARTNAME="+partition) {
			return true
		}
	}
	return false
}
