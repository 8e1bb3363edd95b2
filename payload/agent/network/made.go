package network

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
	return addLink(vlanName(card, id), parent.Attrs().Index, "8021q", "vlan", func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(uint16(id)))
	})
}

// miimon is how often the bonding driver looks at its cards' carriers, in
// milliseconds: bonding.rst's example. Its default is never.
const miimon = 100

// join makes the card a member of the bond, which is made where it is not there.
func join(bond, mode, card string) error {
	err := addLink(bond, 0, "bonding", "bond", func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_BOND_MODE, nl.Uint8Attr(uint8(slices.Index(netconf.BondModes(), mode))))
		data.AddRtAttr(nl.IFLA_BOND_MIIMON, nl.Uint32Attr(miimon))
	})
	if err != nil {
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

// addBridge makes a bridge over an interface, unless it is there. It has that
// one's address, by which a DHCP server knows the machine, and forwards at once:
// without the spanning tree protocol there is nothing to wait for. What the port
// is asked for IPv6 by itself would be a second address of this machine.
func addBridge(bridge, port string, mac net.HardwareAddr) error {
	lower, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	err = addLink(bridge, 0, "bridge", "bridge", func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
		data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
	})
	if err != nil {
		return err
	}
	upper, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(upper, mac); err != nil {
		return err
	}
	addrs, err := netlink.AddrList(lower, netlink.FAMILY_V6)
	for _, a := range addrs {
		err = errors.Join(err, netlink.AddrDel(lower, &a))
	}
	if lower.Attrs().MasterIndex != upper.Attrs().Index {
		err = errors.Join(err, netlink.LinkSetMaster(lower, upper))
	}
	return errors.Join(err, netlink.LinkSetUp(lower))
}

// addLink makes an interface, unless it is there since the round before. It
// speaks netlink itself: netlink.LinkAdd knows 40 kinds and adds 150 kB.
func addLink(name string, parent int, module, kind string, describe func(data *nl.RtAttr)) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if parent != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(parent))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	describe(info.AddRtAttr(nl.IFLA_INFO_DATA, nil))
	req.AddData(info)
	switch _, err := req.Execute(unix.NETLINK_ROUTE, 0); {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("the kernel lacks the module %s: %w", module, err)
	default:
		return err
	}
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
