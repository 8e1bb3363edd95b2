package persist

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

func TestOthersStateCountsAsNone(t *testing.T) {
	m := newMachine(t)
	m.plug("sdb2")
	other := at(9)
	other.Channel = "testing"
	p := m.open()
	p.Channel = "testing"
	if err := p.Save(other); err != nil {
		t.Fatal(err)
	}
	m.want(0)
	m.wantSaid(`product "demo", channel "testing"`)
	if err := m.open().Save(other); err == nil {
		t.Error("a state of another channel was saved")
	}
	m.save(at(2))
	m.want(2)
}

// TestKeysMadeAnew: after the worst day the owner starts anew, under the same
// name. What a machine remembers of the old keys, far ahead, is not held against
// the new ones; nor does a look at a new medium make it forget.
func TestKeysMadeAnew(t *testing.T) {
	for name, equip := range map[string]func(*machine){
		"stick":    func(m *machine) { m.plug("sdb2") },
		"variable": func(m *machine) { m.efi() },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			equip(m)
			m.save(at(9))
			p := m.open()
			p.Lineage = object.OfBytes([]byte("another statement 1")).SHA256
			if got := p.Load(); !got.Floor.Equal(state.Floor{}) || got.Lineage != p.Lineage {
				t.Errorf("remembers %+v", got)
			}
			m.want(9)
			anew := at(1)
			anew.Lineage = p.Lineage
			if err := p.Save(anew); err != nil || p.Load().Floor.Version != 1 {
				t.Errorf("Save = %v, then %+v", err, p.Load())
			}
		})
	}
}

// TestMediaTakeTurns: a boot by a medium of another channel, product or lineage
// does not make the machine forget.
func TestMediaTakeTurns(t *testing.T) {
	m := newMachine(t)
	m.efi()
	m.save(at(9))
	for i, change := range []func(*state.State){
		func(s *state.State) { s.Channel = "testing" },
		func(s *state.State) { s.Product = "other" },
		func(s *state.State) { s.Lineage = object.ID{} },
	} {
		s := at(int64(i + 1))
		change(&s)
		p := m.open()
		p.Product, p.Channel, p.Lineage = s.Product, s.Channel, s.Lineage
		if got := p.Load().Floor.Version; got != 0 {
			t.Errorf("%s/%s: version %d of another", s.Product, s.Channel, got)
		}
		if err := p.Save(s); err != nil {
			t.Error(err)
		}
		m.want(9)
	}
	if len(m.said) != 0 {
		t.Errorf("said %q", m.said)
	}
}

// TestManyMediaFillNoFirmware: others' variables are bounded, and kept.
func TestManyMediaFillNoFirmware(t *testing.T) {
	m := newMachine(t)
	m.efi()
	m.save(at(9))
	save := func(i int) error {
		s, p := at(1), m.open()
		s.Product = fmt.Sprint("product-", i)
		p.Product = s.Product
		return p.Save(s)
	}
	for i := range maxVariables - 1 {
		if err := save(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := save(maxVariables); err == nil || errors.Is(err, state.ErrLower) || !strings.Contains(err.Error(), "holds 8 of them already") {
		t.Errorf("one more: %v", err)
	}
	m.save(at(10))
	m.want(10)
}

// TestStickGone: what was read from a stick and cannot be written back is no
// success, since the machine will not remember.
func TestStickGone(t *testing.T) {
	m := newMachine(t)
	node := m.plug("sdb2")
	m.save(at(6))
	p := m.open()
	if got := p.Load().Floor.Version; got != 6 {
		t.Fatalf("version %d", got)
	}
	m.write(filepath.Join(m.sys, "class/block/sdb2/uevent"), "")
	if err := p.Save(at(7)); err == nil || !strings.Contains(err.Error(), node) {
		t.Errorf("Save = %v; want one that names %s", err, node)
	}
}
