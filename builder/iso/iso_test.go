package iso

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/liveiso"
)

// TestDebian reads a live ISO of Debian's packages.
func TestDebian(t *testing.T) {
	f, err := os.Open(liveiso.Build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s, err := Examine(f, info.Size(), Options{Append: "console=ttyS0,115200", Live: Live{
		Lang: "de_DE.UTF-8", Keyboard: "de", Hostname: "reading-room", SSHKeys: []string{"ssh-ed25519 AAAA x"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	if s.Family != "live-boot" || s.Kernel.Path != "/live/vmlinuz" || len(s.Initrd) != 1 || s.Initrd[0].Path != "/live/initrd.img" || !strings.HasSuffix(s.Release, "-amd64") {
		t.Errorf("%s, kernel %s, %s, initrds %v", s.Family, s.Kernel.Path, s.Release, s.Initrd)
	}
	const line = "boot=live live-media={device} components quiet splash locales=de_DE.UTF-8 keyboard-layouts=de hostname=reading-room console=ttyS0,115200"
	if s.Cmdline != line {
		t.Errorf("command line %q\nwant %q", s.Cmdline, line)
	}
	if s.InitLink != "" || !strings.HasPrefix(string(s.Init), "#!/bin/sh") || s.Memory < 300 || s.Memory > 700 {
		t.Errorf("init link %q, file of %d bytes, memory %d", s.InitLink, len(s.Init), s.Memory)
	}
	t.Log(s.Memory, len(s.Layer))
	k, err := s.Modules()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start), len(k.Modules))
}
