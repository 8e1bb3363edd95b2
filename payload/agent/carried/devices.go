package carried

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/farboot/farboot/payload/agent/hardware"
)

// Card is a network card as the kernel that comes next has to find it.
type Card struct {
	MAC    string
	Driver string // of the kernel that runs
	// Aliases are the modaliases of the card and of what it hangs on, itself first,
	// and of its PHY last.
	Aliases []string
}

// Cards lists the machine's wired cards that have a driver. sysfs is the file tree of
// /sys.
func Cards(sysfs fs.FS) []Card {
	var all []Card
	for _, nic := range hardware.NICs(sysfs, nil) {
		dir := "class/net/" + nic.Name
		c := Card{MAC: nic.MAC, Driver: nic.Driver, Aliases: chain(sysfs, dir)}
		if phy := phyAlias(sysfs, dir); phy != "" {
			c.Aliases = append(c.Aliases, phy)
		}
		all = append(all, c)
	}
	return all
}

// chain returns the modaliases from a device upwards. dir is a link to it.
func chain(sysfs fs.FS, dir string) (aliases []string) {
	target, err := fs.ReadLink(sysfs, dir)
	if err != nil {
		return nil
	}
	for at := path.Join(path.Dir(dir), target); at != "." && at != "/" && at != "devices"; at = path.Dir(at) {
		if alias := line(sysfs, at+"/modalias"); alias != "" {
			aliases = append(aliases, alias)
		}
	}
	return aliases
}

// phyAlias returns what the kernel would ask for the driver of a card's PHY by
// (MDIO_ID_FMT in include/linux/mod_devicetable.h), or "".
func phyAlias(sysfs fs.FS, dir string) string {
	id, err := strconv.ParseUint(line(sysfs, dir+"/phydev/phy_id"), 0, 32)
	if err != nil || id == 0 || id == 1<<32-1 {
		return ""
	}
	return fmt.Sprintf("mdio:%032b", id)
}

// Devices lists the modaliases of all devices.
func Devices(sysfs fs.FS) (aliases []string) {
	buses, _ := fs.ReadDir(sysfs, "bus") // none is a machine without devices
	for _, bus := range buses {
		dir := path.Join("bus", bus.Name(), "devices")
		devices, _ := fs.ReadDir(sysfs, dir)
		for _, d := range devices {
			if alias := line(sysfs, path.Join(dir, d.Name(), "modalias")); alias != "" {
				aliases = append(aliases, alias)
			}
		}
	}
	return aliases
}

// line reads a file of one line; one that is not there is "".
func line(sysfs fs.FS, name string) string {
	data, _ := fs.ReadFile(sysfs, name)
	return strings.TrimSpace(string(data))
}
