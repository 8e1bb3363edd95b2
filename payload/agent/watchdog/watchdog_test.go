package watchdog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// sysfs makes the file tree of /sys with timers by name, each with its identity
// and boot status as Linux 6.1 prints them.
func sysfs(stop string, dogs map[string][2]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	if stop != "" {
		fsys[stopFile] = &fstest.MapFile{Data: []byte(stop + "\n")}
	}
	for name, dog := range dogs {
		fsys[classDir+"/"+name+"/identity"] = &fstest.MapFile{Data: []byte(dog[0] + "\n")}
		fsys[classDir+"/"+name+"/bootstatus"] = &fstest.MapFile{Data: []byte(dog[1] + "\n")}
	}
	return fsys
}

func TestFind(t *testing.T) {
	for name, tc := range map[string]struct {
		sysfs fstest.MapFS
		want  string // the watchdog's name, or of what the error speaks
		bark  bool
	}{
		"none":     {sysfs("", nil), "none in this machine", false},
		"one":      {sysfs("0", map[string][2]string{"watchdog0": {"i6300ESB timer", "0"}}), "watchdog0 (i6300ESB timer)", false},
		"bit":      {sysfs("0", map[string][2]string{"watchdog0": {"i6300ESB timer", "32"}}), "watchdog0 (i6300ESB timer)", true},
		"overheat": {sysfs("0", map[string][2]string{"watchdog0": {"iTCO_wdt", "1"}}), "watchdog0 (iTCO_wdt)", false},
		"garbage":  {sysfs("0", map[string][2]string{"watchdog0": {"iTCO_wdt", "yes"}}), "watchdog0 (iTCO_wdt)", false},
		"softdog":  {sysfs("0", map[string][2]string{"watchdog0": {"Software Watchdog", "32"}}), "dies with the kernel", false},
		"behind":   {sysfs("0", map[string][2]string{"watchdog0": {"Software Watchdog", "32"}, "watchdog1": {"iamt_wdt", "0"}, "watchdog10": {"B", "0"}, "watchdog2": {"A", "0"}}), "watchdog2 (A)", false},
		"IPMI":     {fstest.MapFS{legacyDir + "/dev": {}}, "watchdog (IPMI)", false},
		"own misc": {fstest.MapFS{legacyDir + "/dev": {}, classDir + "/watchdog0/identity": {Data: []byte("Software Watchdog")}}, "no watchdog", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Find(tc.sysfs, t.TempDir())
			switch {
			case err != nil && (!errors.Is(err, ErrNone) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v; want %q", err, tc.want)
			case err == nil && (d.String() != tc.want || d.Bark() != tc.bark):
				t.Errorf("found %q, bark %t; want %q, %t", d, d.Bark(), tc.want, tc.bark)
			}
		})
	}
}

// TestArmRefuses: what is armed must outlive the jump, and what cannot be armed
// is not held open. That a timer really bites is boottest's.
func TestArmRefuses(t *testing.T) {
	dogs := map[string][2]string{"watchdog0": {"i6300ESB timer", "0"}}
	dev := t.TempDir()
	node := filepath.Join(dev, "watchdog0")
	arm := func(stop string, least time.Duration) error {
		d, err := Find(sysfs(stop, dogs), dev)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Arm(least)
		if d.fd != closed {
			t.Error("held open")
		}
		return err
	}
	if err := arm("0", time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a node: %v", err)
	}
	if err := os.WriteFile(node, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := arm("0", time.Minute); !errors.Is(err, ErrNone) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a file that is no watchdog: %v", err)
	}
	for _, least := range []time.Duration{0, Min - 1, Max + 1, -time.Minute} {
		if err := arm("0", least); err == nil || !strings.Contains(err.Error(), "is not between") {
			t.Errorf("%s: %v", least, err)
		}
	}
	for _, stop := range []string{"", "-1", "1"} {
		if err := arm(stop, time.Minute); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "stop_on_reboot") {
			t.Errorf("stop_on_reboot=%q: %v", stop, err)
		}
	}
	if err := (&Dog{fd: closed}).Disarm(); err != nil {
		t.Errorf("Disarm of what was not armed: %v", err)
	}
}
