package medium

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
)

// composerWith returns a composer that carries the given contents.
func composerWith(t *testing.T, contents ...string) *composer {
	t.Helper()
	store, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	c := &composer{
		ctx: context.Background(), Parts: Parts{Recipe: &recipe.Recipe{Medium: &recipe.Medium{}}, Cache: store},
		m: &Medium{Epoch: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)},
	}
	for i, text := range contents {
		path := filepath.Join(t.TempDir(), "input")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c.fallback.objects = append(c.fallback.objects, carried{object.OfBytes([]byte(text)), "file:input" + string(rune('0'+i)), path})
	}
	return c
}

// TestFallbackLayer: cpio finds each object by its hash, to the byte.
func TestFallbackLayer(t *testing.T) {
	contents := []string{"a kernel", strings.Repeat("an initrd", 10_000)}
	layer, ref, err := composerWith(t, contents...).fallbackLayer()
	if err != nil {
		t.Fatal(err)
	}
	data, err := layer.Read()
	if err != nil || object.OfBytes(data) != ref {
		t.Fatalf("layer of %d bytes is %v, %v", len(data), ref, err)
	}
	dir := t.TempDir()
	cmd := exec.Command(oracle.Tool(t, "cpio", "cpio"), "-idm", "--quiet")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(data))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for _, want := range contents {
		name := filepath.Join(dir, settings.ObjectDir, object.OfBytes([]byte(want)).SHA256.String())
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	empty, _, err := composerWith(t).fallbackLayer()
	if err != nil || empty.Size != 0 {
		t.Errorf("without objects the layer has %d bytes, %v", empty.Size, err)
	}
	if _, _, err := composerWith(t, "x", string(secret(t))).fallbackLayer(); !errors.Is(err, leak.ErrSecret) || !strings.Contains(err.Error(), "file:input1") {
		t.Errorf("with a secret key: %v", err)
	}
}

// TestModules: what a recipe's keys need comes without being named.
func TestModules(t *testing.T) {
	local := recipe.Entry{Local: &recipe.LocalEntry{}}
	for name, c := range map[string]struct {
		r    recipe.Medium
		want string
	}{
		"vlan and bond": {recipe.Medium{Networks: []netconf.Network{{VLAN: 7, Bond: &netconf.Bond{}}}}, "net usb 8021q bonding"},
		"disks":         {recipe.Medium{Fallback: []recipe.Entry{local, local}}, "net usb storage filesystems"},
		"firmware":      {recipe.Medium{Fallback: []recipe.Entry{{Local: &recipe.LocalEntry{Firmware: true}}}}, "net usb"},
		"watchdog":      {recipe.Medium{Fallback: []recipe.Entry{{Linux: &recipe.KexecEntry{Watchdog: 60}}}}, "net usb watchdog"},
		"nothing":       {recipe.Medium{}, "net usb"},
	} {
		c.r.Kernel.Modules = []string{"net", "usb"}
		if got := modules(&c.r); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
