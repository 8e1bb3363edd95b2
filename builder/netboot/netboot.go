// Package netboot writes the texts by which machines start over the network:
// an iPXE script for the same menu that GRUB shows, and an example of a dnsmasq
// configuration. The places of the files in a netboot tree are its constants.
//
// [IPXE] is the main call. It promises that a kernel gets its command line as
// it stands in the menu, behind one "initrd=" per initrd, and that no text
// becomes a command. A machine that cannot load an entry fetches the script
// anew and tries again.
//
// It copies no files and serves nothing. What the network delivers is not
// verified here: that is the agent's work, and under Secure Boot shim's for the
// kernel.
package netboot

// Places in a netboot tree, relative to its root, which must be the TFTP
// server's root: the signed GRUB looks for its configuration at an absolute
// path.
const (
	// Script is the iPXE script.
	Script = "boot.ipxe"
	// Shim is what UEFI firmware is told to load: shimx64.efi.signed.
	Shim = "bootx64.efi"
	// GRUB is grubnetx64.efi.signed, under the name by which shim asks for it.
	GRUB = "grubx64.efi"
	// GRUBConfig is where that GRUB has its prefix, "/grub".
	GRUBConfig = "grub/grub.cfg"
	// Dnsmasq is the example of a server's configuration.
	Dnsmasq = "dnsmasq.conf"
)
