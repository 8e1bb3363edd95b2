package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

const build = "0123456789abcdef"

// lineage is that of the medium.
var lineage = object.OfBytes([]byte("statement 1")).SHA256

// machine is a made-up sysfs and devtmpfs.
type machine struct {
	t        *testing.T
	sys, dev string
	said     []string
}

func newMachine(t *testing.T) *machine {
	return &machine{t: t, sys: t.TempDir(), dev: t.TempDir()}
}

// write makes a file with its folders.
func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// plug adds a stick's partition for the state, by its kernel's name, and returns
// its node.
func (m *machine) plug(name string) string {
	m.t.Helper()
	dir := filepath.Join(m.sys, "class/block", name)
	m.write(dir+"/uevent", "MAJOR=8\nMINOR=2\nDEVNAME="+name+"\nDEVTYPE=partition\nPARTN=2\nPARTNAME=farboot state "+build+"\n")
	m.write(dir+"/size", "128\n")
	m.write(dir+"/ro", "0\n")
	node := filepath.Join(m.dev, name)
	m.write(node, strings.Repeat("\x00", state.DeviceSize))
	return node
}

// efi makes it a machine with UEFI, and returns the path of our variable.
func (m *machine) efi() string {
	m.t.Helper()
	m.write(filepath.Join(m.sys, variableDir, "BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"), "")
	return filepath.Join(m.sys, variableDir, m.open().variable())
}

// open is one power-on.
func (m *machine) open() *Places {
	return Open(Config{Sys: m.sys, Dev: m.dev, Build: build, Product: "demo", Channel: "stable", Lineage: lineage,
		Log: func(format string, args ...any) { m.said = append(m.said, fmt.Sprintf(format, args...)) }})
}

// want fails unless the machine remembers a version of the manifest.
func (m *machine) want(version int64) {
	m.t.Helper()
	if got := m.open().Load().Floor.Version; got != version {
		m.t.Errorf("Load: version %d; want %d", got, version)
	}
}

// wantSaid fails unless a line was logged, and forgets all.
func (m *machine) wantSaid(phrase string) {
	m.t.Helper()
	if all := strings.Join(m.said, "\n"); !strings.Contains(all, phrase) {
		m.t.Errorf("said %q; want %q", all, phrase)
	}
	m.said = nil
}

// at returns the state of one version of the manifest.
func at(version int64) state.State {
	return state.State{Format: state.Format, Product: "demo", Channel: "stable", Lineage: lineage, Floor: state.Floor{
		Statement: 1, Epoch: 1, Version: version, SHA256: object.OfBytes([]byte{byte(version)}).SHA256,
		Issued: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}}
}

// save saves and fails the test on an error.
func (m *machine) save(s state.State) {
	m.t.Helper()
	if err := m.open().Save(s); err != nil {
		m.t.Fatal(err)
	}
}

func TestNoPlaceIsNoFault(t *testing.T) {
	m := newMachine(t)
	m.save(at(3))
	m.want(0)
	if names := m.open().Names(); len(names)+len(m.said) != 0 {
		t.Errorf("names %q, said %q", names, m.said)
	}
}

func TestRemembers(t *testing.T) {
	for name, equip := range map[string]func(*machine){
		"stick":    func(m *machine) { m.plug("sdb2") },
		"variable": func(m *machine) { m.efi() },
		"both":     func(m *machine) { m.plug("sdb2"); m.efi() },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			equip(m)
			m.want(0)
			m.save(at(3))
			m.want(3)
			m.save(at(4))
			m.want(4)
			if err := m.open().Save(at(3)); !errors.Is(err, state.ErrLower) {
				t.Errorf("Save of something lower = %v", err)
			}
			if !m.open().Load().Equal(at(4)) {
				t.Errorf("Load = %+v", m.open().Load())
			}
			if len(m.said) != 0 {
				t.Errorf("said %q", m.said)
			}
		})
	}
}

// TestHighestWins: a stick that was in another machine, and one that missed a
// Save, are brought together.
func TestHighestWins(t *testing.T) {
	m := newMachine(t)
	m.plug("sdb2")
	m.save(at(3))
	variable := m.efi()
	m.want(3)
	m.save(at(5))
	if err := os.RemoveAll(filepath.Join(m.sys, "class")); err != nil {
		t.Fatal(err)
	}
	m.save(at(7))
	m.plug("sdc2") // an empty one
	m.want(7)
	m.save(at(7))
	if err := os.Remove(variable); err != nil {
		t.Fatal(err)
	}
	m.want(7)
}

// TestLateStick: what a stick remembers that comes between Load and Save must
// not be passed over.
func TestLateStick(t *testing.T) {
	m := newMachine(t)
	node := m.plug("sdb2")
	m.save(at(9))
	uevent := filepath.Join(m.sys, "class/block/sdb2/uevent")
	text, err := os.ReadFile(uevent)
	if err != nil {
		t.Fatal(err)
	}
	m.write(uevent, "")
	p := m.open()
	if got := p.Load().Floor.Version; got != 0 {
		t.Fatalf("version %d from a stick that is not there", got)
	}
	m.write(uevent, string(text))
	if err := p.Save(at(8)); !errors.Is(err, state.ErrLower) || !strings.Contains(err.Error(), node) {
		t.Errorf("Save = %v; want one that names the stick", err)
	}
	if got := p.Load().Floor.Version; got != 9 {
		t.Errorf("Load: version %d; want 9", got)
	}
}

func TestOthersAreNoPlace(t *testing.T) {
	for name, spoil := range map[string]func(m *machine, dir string){
		"another medium": func(m *machine, dir string) { m.write(dir+"/uevent", "DEVNAME=sdb2\nPARTNAME=farboot state 0\n") },
		"no name":        func(m *machine, dir string) { m.write(dir+"/uevent", "DEVNAME=sdb2\n") },
		"prefix": func(m *machine, dir string) {
			m.write(dir+"/uevent", "DEVNAME=sdb2\nPARTNAME=farboot state "+build+"0\n")
		},
		"no node": func(m *machine, dir string) { m.write(dir+"/uevent", "PARTNAME=farboot state "+build+"\n") },
		"path": func(m *machine, dir string) {
			m.write(dir+"/uevent", "DEVNAME=../x\nPARTNAME=farboot state "+build+"\n")
		},
		"read-only": func(m *machine, dir string) { m.write(dir+"/ro", "1\n") },
		"too small": func(m *machine, dir string) { m.write(dir+"/size", "127\n") },
		"gone":      func(m *machine, dir string) { os.RemoveAll(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.plug("sdb2")
			if names := m.open().Names(); len(names) != 1 {
				t.Fatalf("names %q", names)
			}
			spoil(m, filepath.Join(m.sys, "class/block/sdb2"))
			if names := m.open().Names(); len(names) != 0 {
				t.Errorf("names %q", names)
			}
		})
	}
}

// TestFaults: garbage in one place hides neither the other nor the next Save.
func TestFaults(t *testing.T) {
	garbage := strings.Repeat("garbage ", state.DeviceSize/8)
	m := newMachine(t)
	node, variable := m.plug("sdb2"), m.efi()
	m.write(node, garbage)
	m.want(0)
	m.wantSaid("memory: partition " + node + ": malformed state: no frame; it counts as none")
	m.write(variable, garbage)
	m.want(0)
	m.wantSaid("memory: firmware variable " + filepath.Base(variable)[:len("FarbootState-01234567")] + ": malformed state: attributes")
	m.save(at(3))
	m.want(3)
	m.write(node, garbage)
	m.want(3)
	m.write(variable, "")
	m.want(0)
	m.write(node, "short")
	m.want(0)
	m.wantSaid("EOF")
	err := m.open().Save(at(4))
	if err == nil || errors.Is(err, state.ErrLower) || !strings.Contains(err.Error(), "memory: partition "+node) {
		t.Errorf("Save to a broken stick = %v", err)
	}
	m.want(4) // the variable was written all the same
}

// TestHolder names the place that knows most.
func TestHolder(t *testing.T) {
	m := newMachine(t)
	node := m.plug("sdb2")
	m.save(at(9))
	m.efi()
	p := m.open()
	if p.Load(); p.Holder() != "partition "+node {
		t.Errorf("held by %q", p.Holder())
	}
	m.save(at(9))
	if p.Load(); !strings.HasPrefix(p.Holder(), "firmware variable FarbootState-") {
		t.Errorf("held by %q", p.Holder())
	}
}

// TestNothingIsWrittenTwice: NVRAM wears out.
func TestNothingIsWrittenTwice(t *testing.T) {
	m := newMachine(t)
	node, variable := m.plug("sdb2"), m.efi()
	m.save(at(3))
	for _, name := range []string{node, variable} {
		if err := os.Chmod(name, 0o444); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	m.save(at(3))
	for _, name := range []string{node, variable} {
		if info, err := os.Stat(name); err != nil || !info.ModTime().Equal(time.Unix(1, 0)) {
			t.Errorf("%s was written again (%v)", name, err)
		}
	}
}

// TestVariable holds the bytes to efivarfs' form: four bytes of attributes.
func TestVariable(t *testing.T) {
	m := newMachine(t)
	name := m.efi()
	m.save(at(3))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint32(data); got != 7 {
		t.Errorf("attributes %#x", got)
	}
	if s, sequence, err := state.Unseal(data[4:]); err != nil || sequence != 1 || !s.Equal(at(3)) {
		t.Errorf("Unseal = %+v, %d, %v", s, sequence, err)
	}
	data[0] = 3
	m.write(name, string(data))
	m.want(0)
	m.wantSaid("attributes 03000000")
}

// TestWaitsForProbing: a stick whose driver is at work is waited for, one that
// never comes only so long, and a machine without USB storage not at all.
func TestWaitsForProbing(t *testing.T) {
	const usb = "bus/usb/devices/1-1:1.0"
	const root = "bus/usb/devices/usb1/bDeviceClass"
	for _, test := range []struct {
		name     string
		at       map[string]string
		late     time.Duration
		later    func(*machine)
		version  int64
		min, max time.Duration
	}{
		{name: "no USB"},
		{name: "no storage", at: map[string]string{usb + "/bInterfaceClass": "03\n"}, min: 2 * time.Second, max: 2 * time.Second},
		{name: "no storage, and Load comes late", at: map[string]string{usb + "/bInterfaceClass": "03\n"}, late: 2 * time.Second},
		{name: "never", at: map[string]string{usb + "/bInterfaceClass": "08\n"}, min: 5 * time.Second, max: 5100 * time.Millisecond},
		{name: "a stick of another kind", at: map[string]string{
			usb + "/bInterfaceClass": "08\n", usb + "/host0/target0:0:0/0:0:0:0/type": "0\n",
			usb + "/host0/target0:0:0/0:0:0:0/block/sda/size": "1\n",
		}, min: 300 * time.Millisecond, max: 300 * time.Millisecond},
		{name: "CD drive", at: map[string]string{
			usb + "/bInterfaceClass": "08\n", usb + "/host0/target0:0:0/0:0:0:0/type": "5\n",
		}, min: 300 * time.Millisecond, max: 300 * time.Millisecond},
		{name: "disk, probing", at: map[string]string{
			usb + "/bInterfaceClass": "08\n", usb + "/host0/target0:0:0/0:0:0:0/type": "0\n",
		}, min: 5 * time.Second, max: 5100 * time.Millisecond},
		{name: "ours, without a sign before", at: map[string]string{usb + "/bInterfaceClass": "03\n"},
			later:   func(m *machine) { os.Rename(filepath.Join(m.sys, "hidden"), filepath.Join(m.sys, "class")) },
			version: 6, min: 2 * time.Second, max: 2 * time.Second},
		{name: "ours, late", at: map[string]string{usb + "/bInterfaceClass": "08\n"},
			later:   func(m *machine) { os.Rename(filepath.Join(m.sys, "hidden"), filepath.Join(m.sys, "class")) },
			version: 6, min: 2 * time.Second, max: 2200 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.plug("sda2")
			m.save(at(6))
			if err := os.Rename(filepath.Join(m.sys, "class"), filepath.Join(m.sys, "hidden")); err != nil {
				t.Fatal(err)
			}
			if test.at != nil {
				m.write(filepath.Join(m.sys, root), "09\n")
			}
			for name, text := range test.at {
				m.write(filepath.Join(m.sys, name), text)
			}
			synctest.Test(t, func(t *testing.T) {
				p := m.open()
				if test.later != nil {
					// Not at a moment when the waiting looks as well.
					time.AfterFunc(1950*time.Millisecond, func() { test.later(m) })
				}
				time.Sleep(test.late)
				start := time.Now()
				if got := p.Load().Floor.Version; got != test.version {
					t.Errorf("version %d; want %d", got, test.version)
				}
				if took := time.Since(start); took < test.min || took > test.max {
					t.Errorf("took %v; want %v to %v", took, test.min, test.max)
				}
				start = time.Now()
				p.Load()
				if took := time.Since(start); took != 0 {
					t.Errorf("the second Load waits %v", took)
				}
			})
		})
	}
}

// stuck is a place that answers after a time.
type stuck time.Duration

func (stuck) String() string { return "stick" }
func (s stuck) load() (state.State, error) {
	time.Sleep(time.Duration(s))
	return at(1), nil
}
func (stuck) save(state.State) error { return nil }

func TestSlowPlaceIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Open(Config{})
		quick, slow := stuck(9*time.Second), stuck(11*time.Second)
		if s, err := within(p, quick, quick.load); err != nil || !s.Equal(at(1)) {
			t.Errorf("within 9 s: %v", err)
		}
		_, err := within(p, slow, slow.load)
		if err == nil || err.Error() != "stick: no answer after 10 s, it is left alone from now on" || !p.lost["stick"] {
			t.Errorf("within 11 s: %v", err)
		}
		time.Sleep(time.Minute)
	})
}
