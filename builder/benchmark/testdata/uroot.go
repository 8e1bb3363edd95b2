// Command uroot loads /xen with its modules by u-root's package. It is built in a
// module of its own, since u-root is no dependency of ours.
package main

import (
	"log"
	"os"

	"github.com/u-root/u-root/pkg/boot/multiboot"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	xen, err := os.Open("/xen")
	if err != nil {
		return err
	}
	modules, err := multiboot.OpenModules([]string{"/vmlinuz console=hvc0", "/initrd"})
	if err != nil {
		return err
	}
	return multiboot.Load(false, xen, "xen console=com1", modules, nil)
}
