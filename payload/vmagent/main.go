// Command vmagent is /init of the machine that "farboot vm" starts for a disk image: it
// finds the image's root file system, runs one command in it, unmounts, tells the desk
// how it ended, and switches the machine off.
//
// It obeys whoever holds the other end of a virtio-serial port, and so it is a program
// of its own: package builder/vm/guest packs it, into an initramfs that goes to QEMU and
// nowhere else, and no medium has it. The agent on media knows no such port. Everything
// is done within the virtual machine, whose only disk is the desk's copy of an image.
//
// Under the name of modprobe the kernel starts it for the modules that it wants.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "vmagent:", err)
		os.Exit(1)
	}
}
