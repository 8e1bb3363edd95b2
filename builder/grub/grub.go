// Package grub makes what GRUB needs to start a machine: the BIOS core image
// and the configuration.
//
// [Core] builds the image that a BIOS loads, out of the files of Debian's
// package grub-pc-bin and without grub-mkimage; [PatchBootInfo] and [HybridMBR]
// tie it to its place on a medium. [Config] turns a [Menu] into grub.cfg, and
// [Quote] is how every text of a user gets in there.
//
// The package promises that the uncompressed payload of a core image is the
// very one that grub-mkimage makes, and that nothing in a title, a path or a
// command line becomes a GRUB command: what would not arrive at the kernel
// exactly as written is refused. It knows GRUB 2.06 and refuses others.
//
// It does not build EFI binaries: under UEFI Debian's signed GRUB is used as it
// is, with the same grub.cfg.
package grub
