package grub

import (
	"fmt"
	"slices"
	"strings"
)

// Chain leaves the medium for what is installed on the machine. Where EFI is not
// set, UEFI firmware goes on with its next boot entry: boot sectors mean nothing
// to it.
type Chain struct {
	// Disk is the disk whose boot sector is started by a BIOS, counted from 1
	// without the medium's own; 0 lets the BIOS go on with its next device.
	Disk int
	// EFI is the file that is started under UEFI, from the first disk that has it.
	EFI string
}

// MaxDisk bounds [Chain.Disk]: a BIOS rarely shows more.
const MaxDisk = 8

// ownEFI is where every medium has a loader of its own: to look for it there
// finds the medium.
const ownEFI = "/EFI/BOOT/BOOTX64.EFI"

func (c *Chain) validate() error {
	if c.Disk < 0 || c.Disk > MaxDisk {
		return fmt.Errorf("disk %d: want 0 to %d", c.Disk, MaxDisk)
	}
	if c.EFI == "" {
		return nil
	}
	if strings.EqualFold(c.EFI, ownEFI) {
		return fmt.Errorf("file %q: the medium itself has one of this name", c.EFI)
	}
	return checkPath("file", c.EFI)
}

func (c *Chain) commands() ([]string, error) {
	efi, bios := []string{"exit"}, []string{"exit"}
	if c.EFI != "" {
		file, err := Quote(c.EFI)
		if err != nil {
			return nil, err
		}
		efi = guard("search --no-floppy --file --set=root "+file, guard("chainloader "+file, []string{"boot"}))
	}
	if c.Disk > 0 {
		bios = c.bootSector()
	}
	if slices.Equal(efi, bios) {
		return efi, nil
	}
	return either(`[ "$grub_platform" = efi ]`, efi, bios), nil
}

// bootSector returns what starts a disk's boot sector under BIOS, which counts
// the disks from hd0 and the stick that was started from among them. The disk
// trades places with the first, and the boot sector is told so: many systems look
// for themselves there.
func (c *Chain) bootSector() []string {
	var before []string // the disk, where the stick may be
	for i := range c.Disk {
		before = append(before, fmt.Sprintf(`"$root" = hd%d`, i))
	}
	lines := either("[ "+strings.Join(before, " -o ")+" ]",
		[]string{fmt.Sprintf("set root=hd%d", c.Disk)}, []string{fmt.Sprintf("set root=hd%d", c.Disk-1)})
	lines = append(lines, guard(`[ "$root" != hd0 ]`, []string{`drivemap -s hd0 "$root"`})...)
	return append(lines, guard("chainloader +1", []string{"boot"})...)
}
