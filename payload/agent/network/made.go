package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vlanName returns the name of the card's interface in the VLAN. The kernel's
// names have at most 15 bytes; card names of its own leave room for four digits.
func vlanName(card string, id int) string {
	return fmt.Sprintf("%s.%d", card, id)
}

// addVLAN makes the card's interface in the VLAN, unless it is there. mtu, where
// it is not 0, is what the card must carry.
func addVLAN(card string, id, mtu int) error {
	parent, err := netlink.LinkByName(card)
	if err != nil {
		return err
	}
	if mtu > parent.Attrs().MTU {
		if err := netlink.LinkSetMTU(parent, mtu); err != nil {
			return fmt.Errorf("MTU %d: %w", mtu, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = vlanName(card, id), parent.Attrs().Index
	return made("8021q", netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}))
}

// miimon is how often the bonding driver looks at its cards' carriers, in
// milliseconds: bonding.rst's example. Its default is never.
const miimon = 100

// join makes the card a member of the bond, which is made where it is not there.
func join(bond, mode, card string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bond
	b := netlink.NewLinkBond(attrs)
	b.Mode, b.Miimon = netlink.StringToBondMode(mode), miimon
	if err := made("bonding", netlink.LinkAdd(b)); err != nil {
		return err
	}
	master, err := netlink.LinkByName(bond)
	if err != nil {
		return err
	}
	member, err := netlink.LinkByName(card)
	if err != nil || member.Attrs().MasterIndex == master.Attrs().Index {
		return err
	}
	// The driver takes cards that are off only, and switches them on itself.
	if err := netlink.LinkSetDown(member); err != nil {
		return err
	}
	return netlink.LinkSetMaster(member, master)
}

// made explains the error of making an interface, which exists already if it is
// left from the round before.
func made(module string, err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("the kernel lacks the module %s: %w", module, err)
	}
	return err
}

// remove deletes an interface that was made.
func remove(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// setMTU sets the interface's MTU.
func setMTU(nic string, mtu int) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	return netlink.LinkSetMTU(link, mtu)
}
