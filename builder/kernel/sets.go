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

// Sets returns the names that a recipe can use, sorted.
func Sets() []string {
	var names []string
	for _, s := range sets() {
		names = append(names, s.name)
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

// baseSet is what every medium gets, whatever its recipe asks for.
func baseSet() set {
	return set{take: []line{
		{"fs/efivarfs", "the agent's memory: a firmware variable"},
		{"drivers/usb/host", usbHost},
		{"drivers/usb/storage", "the agent's memory: the stick that it started from; with uas"},
		{"drivers/scsi/sd_mod", "the same: disks behind USB"},
		{"drivers/virtio/virtio_pci", "carries every virtio device of QEMU, KVM and clouds"},
		{"drivers/virtio/virtio_mmio", "the same in microVMs"},
		{"drivers/hv/hv_vmbus", "carries every device of Hyper-V and Azure"},
		{"drivers/char/hw_random", "entropy at boot: without RDRAND the first random byte, and with it DHCP and TLS, waits for minutes; the generators of TPMs are built in"},
	}, leave: notUSBHosts()}
}

// sets is the table of all sets. Modules that they depend on come by themselves.
func sets() []set {
	return []set{
		netSet(),
		storageSet(),
		{name: "usb", take: []line{
			{"drivers/usb/host", usbHost},
			{"drivers/usb/storage", "sticks and disks, with uas"},
			{"drivers/hid/usbhid", "keyboards"},
			{"drivers/hid/hid-generic", "keyboards that need nothing special"},
			{"drivers/hid/hid-apple", "keyboards that hid-generic leaves alone"},
			{"drivers/hid/hid-cherry", "the same"},
			{"drivers/hid/hid-chicony", "the same"},
			{"drivers/hid/hid-holtek-kbd", "the same"},
			{"drivers/hid/hid-lenovo", "the same"},
			{"drivers/hid/hid-logitech", "the same"},
			{"drivers/hid/hid-logitech-dj", "the same, behind a radio receiver"},
			{"drivers/hid/hid-microsoft", "the same"},
			{"drivers/hid/hid-hyperv", "keyboard and mouse of Hyper-V"},
		}, leave: notUSBHosts()},
		{name: "filesystems", take: []line{
			{"fs/isofs", "CDs and this project's media"},
			{"fs/udf", "DVDs"},
			{"fs/fat", "sticks and EFI system partitions"},
			{"fs/exfat", "large sticks"},
			{"fs/nls", "names on FAT, exFAT, UDF and ISO 9660"},
			{"fs/ext4", "Linux; ext2 and ext3 as well"},
			{"fs/xfs", "Linux"},
			{"fs/btrfs", "Linux"},
			{"fs/f2fs", "Linux on flash"},
			{"fs/squashfs", "live systems"},
			{"fs/erofs", "live systems"},
			{"fs/overlayfs", "live systems"},
			{"fs/efivarfs", "EFI variables"},
		}},
		toolboxSet(),
		xenSet(),
		{name: "shares", take: []line{
			{"fs/nfs", "NFS 2, 3 and 4"},
			{"net/sunrpc/auth_gss", "with Kerberos"},
			{"fs/smb/client", "Windows and Samba"},
		}, leave: []line{
			{"fs/nfs/blocklayout", "pNFS over disks that several machines share"},
			{"fs/nfs/flexfilelayout", "pNFS"},
		}},
		{name: "watchdog", take: []line{
			{"drivers/watchdog", "timers that reset a machine that hangs"},
			{"drivers/char/ipmi/ipmi_watchdog", "the same in a server's BMC"},
			{"drivers/char/ipmi/ipmi_si", "the way to the BMC"},
			{"drivers/char/ipmi/ipmi_ssif", "the way to the BMC"},
			{"drivers/misc/mei/mei-me", "carries mei_wdt"},
			{"drivers/mfd/lpc_ich", "announces iTCO_wdt"},
			{"drivers/i2c/busses/i2c-i801", "announces iTCO_wdt on newer boards"},
		}},
	}
}

// toolboxSet is what a toolbox is mounted by, and what its programs ask of the
// kernel.
func toolboxSet() set {
	return set{name: "toolbox", take: []line{
		{"fs/squashfs", "what a toolbox is"},
		{"drivers/block/loop", "makes a disk of its file"},
		{"fs/overlayfs", "lets programs write over it"},
		{"fs/fuse/fuse", "file systems by programs: ntfs-3g, sshfs"},
		{"fs/ntfs3", "Windows"},
		{"fs/hfsplus", "macOS"},
		{"crypto/algif_skcipher", "what cryptsetup opens key slots with"},
		{"crypto/algif_hash", "the same"},
	}}
}

// xenSet is for a system that rules over a Xen hypervisor, its domain 0.
func xenSet() set {
	return set{name: "xen", take: []line{
		{"drivers/xen/xen-evtchn", "how programs of domain 0 hear of machines"},
		{"drivers/xen/xen-gntdev", "and see their memory"},
		{"drivers/xen/xen-gntalloc", "and show them some"},
		{"drivers/xen/xen-privcmd", "and rule the hypervisor"},
		{"drivers/xen/xenfs", "what xenstored looks for"},
		{"drivers/xen/xen-pciback", "cards for machines"},
		{"drivers/xen/xen-acpi-processor", "tells the hypervisor how processors save power"},
		{"drivers/net/xen-netback", "cards of machines"},
		{"drivers/block/xen-blkback", "disks of machines"},
		{"drivers/block/loop", "images in files"},
		{"net/bridge/bridge", "what machines are connected by"},
		{"drivers/net/veth", "cables within a machine"},
	}}
}

// Reasons that stand more than once.
const (
	pcCard  = "16-bit PC Card: no machine with a 64-bit processor starts from one"
	usbHost = "EHCI, OHCI, UHCI and XHCI controllers"
	modem   = "mobile phones and modems"
)

// netSet has every wired NIC that a machine could start from.
func netSet() set {
	return set{name: "net", take: []line{
		{"drivers/net/ethernet", "every wired NIC on PCI"},
		{"drivers/net/phy", "what drives the socket, chosen by its ID at run time"},
		{"drivers/net/mdio", "the bus to it"},
		{"drivers/net/pcs", "the part between MAC and PHY in some chips"},
		{"drivers/net/usb", "USB adapters, in docking stations and BMCs"},
		{"drivers/usb/host", usbHost},
		{"drivers/net/virtio_net", "QEMU, KVM, clouds"},
		{"drivers/net/vmxnet3", "VMware"},
		{"drivers/net/hyperv", "Hyper-V, Azure"},
		{"drivers/pci/controller/pci-hyperv", "NICs that Azure passes through"},
		{"drivers/net/xen-netfront", "Xen"},
	}, leave: append(notUSBHosts(), []line{
		{"drivers/net/ethernet/3com/3c574_cs", pcCard},
		{"drivers/net/ethernet/3com/3c589_cs", pcCard},
		{"drivers/net/ethernet/8390/axnet_cs", pcCard},
		{"drivers/net/ethernet/8390/pcnet_cs", pcCard},
		{"drivers/net/ethernet/amd/nmclan_cs", pcCard},
		{"drivers/net/ethernet/fujitsu/fmvj18x_cs", pcCard},
		{"drivers/net/ethernet/smsc/smc91c92_cs", pcCard},
		{"drivers/net/ethernet/xircom/xirc2ps_cs", pcCard},
		{"drivers/net/ethernet/broadcom/cnic", "iSCSI and FCoE offload, no network interface"},
		{"drivers/net/usb/cdc-phonet", modem},
		{"drivers/net/usb/cdc_mbim", modem},
		{"drivers/net/usb/cx82310_eth", "DSL modems"},
		{"drivers/net/usb/hso", modem},
		{"drivers/net/usb/huawei_cdc_ncm", modem},
		{"drivers/net/usb/ipheth", modem},
		{"drivers/net/usb/kalmia", modem},
		{"drivers/net/usb/lg-vl600", modem},
		{"drivers/net/usb/qmi_wwan", modem},
		{"drivers/net/usb/sierra_net", modem},
	}...)}
}

// notUSBHosts are what drivers/usb/host has beside controllers of PCs.
func notUSBHosts() []line {
	return []line{
		{"drivers/usb/host/sl811-hcd", "embedded boards"},
		{"drivers/usb/host/sl811_cs", pcCard},
		{"drivers/usb/host/u132-hcd", "a controller behind USB, gone from newer kernels"},
	}
}

// storageSet is disks of every kind.
func storageSet() set {
	return set{name: "storage", take: []line{
		{"drivers/ata", "SATA and PATA disks, CD drives"},
		{"drivers/nvme/host", "NVMe, also over fabrics"},
		{"drivers/pci/controller/vmd", "hides NVMe disks on Intel boards"},
		{"drivers/scsi", "disks and CDs of every bus; SAS, RAID and Fibre Channel adapters"},
		{"drivers/message/fusion", "LSI SCSI and SAS adapters; VMware's, too"},
		{"drivers/block/virtio_blk", "QEMU, KVM, clouds"},
		{"drivers/block/xen-blkfront", "Xen"},
		{"drivers/block/loop", "images in files"},
		{"drivers/block/nbd", "disks over the network"},
		{"drivers/block/mtip32xx", "Micron PCIe disks"},
		{"drivers/mmc", "SD cards and soldered eMMC"},
		{"drivers/ufs", "soldered UFS"},
		{"drivers/nvdimm", "persistent memory"},
		{"drivers/md", "RAID, LVM, encryption, verity"},
		{"arch/x86/crypto/aesni-intel", "what disks are mostly encrypted with"},
		{"crypto/xts", "the same"},
		{"crypto/essiv", "the same, older"},
	}, leave: []line{
		{"drivers/ata/pata_legacy", "probes ISA ports that other devices may own"},
		{"drivers/ata/pata_pcmcia", pcCard},
		{"drivers/scsi/pcmcia", pcCard},
		{"drivers/scsi/scsi_debug", "a made-up disk for tests"},
		{"drivers/scsi/qla2xxx/tcm_qla2xxx", "serves disks to others"},
		{"drivers/md/md-cluster", "needs a cluster's lock manager"},
	}}
}
