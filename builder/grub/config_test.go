package grub_test

import (
	"testing"

	"github.com/farboot/farboot/builder/grub"
)

func TestConfigFirst(t *testing.T) {
	s, err := grub.Config(grub.Menu{Marker: "/boot/abc", Timeout: 3, Consoles: []string{"tty0", "ttyS1,57600n8"}, Entries: []grub.Entry{{Title: "It's", Linux: grub.Linux{Kernel: "/live/vmlinuz", Initrds: []string{"/live/initrd.img"}, Cmdline: `a=b "c=d e" x`}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s)
}
