//go:build long

package iso

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/liveiso"
)

// TestLarge: of an ISO of 5 GB, in which all that counts lies behind the fourth GiB,
// the same is found as of the small one.
func TestLarge(t *testing.T) {
	var all [2]*System
	for i, path := range []string{liveiso.Build(t), liveiso.Large(t)} {
		f, size := open(t, path)
		var err error
		if all[i], err = Examine(f, size, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := all[0], all[1]
	if a.Family != b.Family || a.Cmdline != b.Cmdline || string(a.Init) != string(b.Init) || a.Release != b.Release || a.Kernel.Size != b.Kernel.Size {
		t.Errorf("%+v\n%+v", a.Kernel, b.Kernel)
	}
	if b.Kernel.Offset < 4<<30 || b.Initrd[0].Offset < 4<<30 {
		t.Errorf("kernel at %d, initrd at %d", b.Kernel.Offset, b.Initrd[0].Offset)
	}
	if _, err := b.Modules(); err != nil {
		t.Error(err)
	}
}

// TestLiveBuild: what live-build makes is found by its own menus.
func TestLiveBuild(t *testing.T) {
	f, size := open(t, liveiso.LiveBuild(t))
	s, err := Examine(f, size, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Family != "live-boot" || !strings.HasPrefix(s.Cmdline, "boot=live live-media={device} components") || strings.Contains(s.Cmdline, "$") {
		t.Errorf("family %s, command line %q", s.Family, s.Cmdline)
	}
	if k, err := s.Modules(); err != nil || !k.Has("nbd") || k.Release != s.Release {
		t.Errorf("modules of %s: %v", s.Release, err)
	}
}
