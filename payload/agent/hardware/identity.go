package hardware

import (
	"io/fs"
	"path"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// NIC is one wired network card that has a driver.
type NIC struct {
	Name   string // eth0
	MAC    string // lower case with colons
	Driver string // virtio_net; "unknown driver" where sysfs does not tell
}

// Identity returns what the machine knows about itself: SMBIOS UUID and serial
// number as far as its maker filled them in, and the MACs of all wired cards.
// sysfs is the file tree of /sys.
func Identity(sysfs fs.FS) manifest.Identity {
	id := manifest.Identity{
		UUID:   strings.ToLower(meaningful(value(sysfs, "class/dmi/id/product_uuid"))),
		Serial: meaningful(value(sysfs, "class/dmi/id/product_serial")),
	}
	for _, nic := range NICs(sysfs, nil) {
		id.MACs = append(id.MACs, nic.MAC)
	}
	return id
}

// Model names the machine for people, "QEMU Standard PC (i440FX + PIIX, 1996)".
func Model(sysfs fs.FS) string {
	vendor, product := value(sysfs, "class/dmi/id/sys_vendor"), value(sysfs, "class/dmi/id/product_name")
	if name := strings.TrimSpace(vendor + " " + product); name != "" {
		return name
	}
	return "unknown machine"
}

// NICs lists the wired Ethernet cards that have a driver, by name, but for those
// that the caller knows already.
func NICs(sysfs fs.FS, known map[string]bool) []NIC {
	var nics []NIC
	entries, _ := fs.ReadDir(sysfs, "class/net")
	for _, e := range entries {
		if known[e.Name()] {
			continue
		}
		if nic, ok := wired(sysfs, e.Name()); ok {
			nics = append(nics, nic)
		}
	}
	return nics
}

// wired tells whether a network interface is a wired card. One that appears at
// this moment may lack its address still, and is none yet.
func wired(sysfs fs.FS, name string) (NIC, bool) {
	dir := path.Join("class/net", name)
	// ARPHRD_ETHER is 1. Bridges, bonds and the like have no device.
	if value(sysfs, dir+"/type") != "1" || !exists(sysfs, dir+"/device") ||
		exists(sysfs, dir+"/wireless") || exists(sysfs, dir+"/phy80211") {
		return NIC{}, false
	}
	mac := strings.ToLower(value(sysfs, dir+"/address"))
	return NIC{Name: name, MAC: mac, Driver: driver(sysfs, dir)}, mac != ""
}

// Carrier tells whether the NIC is up and has a cable with somebody at its end.
func Carrier(sysfs fs.FS, nic string) bool {
	return value(sysfs, path.Join("class/net", nic, "carrier")) == "1"
}

// Driverless lists the network controllers on PCI that no driver has claimed,
// "8086:1533 at 0000:01:00.0".
func Driverless(sysfs fs.FS) []string {
	var found []string
	entries, _ := fs.ReadDir(sysfs, "bus/pci/devices")
	for _, e := range entries {
		dir := path.Join("bus/pci/devices", e.Name())
		// Base class 02 is "network controller" (PCI Code and ID Assignment).
		if !strings.HasPrefix(value(sysfs, dir+"/class"), "0x02") || exists(sysfs, dir+"/driver") {
			continue
		}
		vendor := strings.TrimPrefix(value(sysfs, dir+"/vendor"), "0x")
		device := strings.TrimPrefix(value(sysfs, dir+"/device"), "0x")
		found = append(found, vendor+":"+device+" at "+e.Name())
	}
	return found
}

// driver names the driver behind the network interface at dir.
func driver(sysfs fs.FS, dir string) string {
	target, err := fs.ReadLink(sysfs, dir+"/device/driver")
	if err != nil {
		return "unknown driver"
	}
	return path.Base(target)
}

// value reads a one-line file; a file that is not there reads as "".
func value(sysfs fs.FS, name string) string {
	data, err := fs.ReadFile(sysfs, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// exists tells whether there is a file, directory or link of that name.
func exists(sysfs fs.FS, name string) bool {
	_, err := fs.Lstat(sysfs, name)
	return err == nil
}

// placeholders are what firmware holds where its maker filled nothing in, in
// lower case. Thousands of machines share them, so they identify none.
var placeholders = []string{
	"none", "n/a", "not specified", "not applicable", "not available", "default string", "unknown", "empty",
	"system serial number", "serial number", "chassis serial number", "to be filled by o.e.m.", "o.e.m.", "oem",
	"invalid", "123456789", "0123456789", "1234567890",
	"03000200-0400-0500-0006-000700080009", // AMI's sample UUID
}

// meaningful returns s, or "" where it identifies nothing.
func meaningful(s string) string {
	for _, p := range placeholders {
		if strings.EqualFold(s, p) {
			return ""
		}
	}
	for _, filler := range []string{"0", "f", "x", "."} {
		if strings.Trim(strings.ToLower(s), filler+"- ") == "" {
			return ""
		}
	}
	return s
}
