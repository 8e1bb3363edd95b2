package kernel

import (
	"slices"
	"strings"
)

// set is a named choice of modules.
type set struct {
	name string
	// take and leave list folders and modules, below kernel/ and without ".ko".
	// A module is in the set if a line of take covers it and none of leave does.
	take, leave []line
}

// line is one place and why it is listed.
type line struct{ place, why string }

// base is the set that every medium gets. It has no name in recipes.
const base = ""

// Sets returns the names that a recipe can use, sorted.
func Sets() []string {
	var names []string
	for _, s := range sets() {
		if s.name != base {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// anyCovers tells whether one of lines names place or a folder above it.
func anyCovers(lines []line, place string) bool {
	return slices.ContainsFunc(lines, func(l line) bool {
		return place == l.place || strings.HasPrefix(place, l.place+"/")
	})
}

// companions maps modules to leaders that ask modprobe for them as the leader
// starts. On the machine there is no modprobe, so a companion is loaded by the
// same devices.
func companions() map[string]string {
	return map[string]string{
		"mlx4_en": "mlx4_core", // the Ethernet half of ConnectX-3; it has no PCI alias
	}
}

// sets is the table of all sets. Modules that they depend on come by themselves.
func sets() []set {
	pcCard := func(names ...string) []line {
		var lines []line
		for _, n := range names {
			lines = append(lines, line{"drivers/net/ethernet/" + n, "16-bit PC Card: no machine with a 64-bit processor boots from one"})
		}
		return lines
	}
	usbHosts := []line{
		{"drivers/usb/host", "EHCI, OHCI, UHCI and XHCI"},
	}
	notUSBHosts := []line{
		{"drivers/usb/host/sl811-hcd", "embedded boards"},
		{"drivers/usb/host/sl811_cs", "PC Card"},
		{"drivers/usb/host/u132-hcd", "a host controller behind USB"},
	}
	return []set{
		{
			name: base,
			take: []line{
				{"drivers/virtio/virtio_pci", "carries every virtio device of QEMU, KVM and clouds"},
				{"drivers/virtio/virtio_mmio", "the same in microVMs"},
				{"drivers/char/hw_random", "entropy at boot: without RDRAND the first random byte, and with it DHCP and TLS, waits for minutes; TPMs' generators are built in"},
				{"drivers/hv/hv_vmbus", "carries every device of Hyper-V and Azure"},
			},
		},
		{
			name: "net",
			take: slices.Concat([]line{
				{"drivers/net/ethernet", "every wired NIC on PCI"},
				{"drivers/net/phy", "what drives the socket, chosen at run time by its ID"},
				{"drivers/net/mdio", "the bus to it"},
				{"drivers/net/pcs", "the part between MAC and PHY in some chips"},
				{"drivers/net/usb", "USB adapters, in docking stations and on BMCs"},
				{"drivers/net/virtio_net", "QEMU, KVM, clouds"},
				{"drivers/net/vmxnet3", "VMware"},
				{"drivers/net/hyperv", "Hyper-V, Azure"},
				{"drivers/pci/controller/pci-hyperv", "the NICs that Azure passes through"},
				{"drivers/net/xen-netfront", "Xen"},
			}, usbHosts),
			leave: slices.Concat(notUSBHosts, pcCard("3com/3c574_cs", "3com/3c589_cs", "8390/axnet_cs", "8390/pcnet_cs",
				"amd/nmclan_cs", "fujitsu/fmvj18x_cs", "smsc/smc91c92_cs", "xircom/xirc2ps_cs"), []line{
				{"drivers/net/ethernet/broadcom/cnic", "iSCSI and FCoE offload, no network interface"},
				{"drivers/net/usb/cdc-phonet", "mobile phones"},
				{"drivers/net/usb/cdc_mbim", "mobile modems"},
				{"drivers/net/usb/cx82310_eth", "DSL modems"},
				{"drivers/net/usb/hso", "mobile modems"},
				{"drivers/net/usb/huawei_cdc_ncm", "mobile modems"},
				{"drivers/net/usb/ipheth", "mobile phones"},
				{"drivers/net/usb/kalmia", "mobile modems"},
				{"drivers/net/usb/lg-vl600", "mobile modems"},
				{"drivers/net/usb/qmi_wwan", "mobile modems"},
				{"drivers/net/usb/sierra_net", "mobile modems"},
			}),
		},
		{
			name: "usb",
			take: slices.Concat(usbHosts, []line{
				{"drivers/usb/storage", "sticks and disks, with uas"},
				{"drivers/hid/usbhid", "keyboards"},
				{"drivers/hid/hid-generic", "keyboards"},
			}),
			leave: notUSBHosts,
		},
	}
}
