package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/farboot/farboot/payload/netconf"
)

// Validate tells what is wrong with the manifest; the error wraps
// [ErrMalformed] and names the place.
func (m *Manifest) Validate() error {
	if err := m.validate(DefaultBounds()); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (m *Manifest) validate(b Bounds) error {
	if err := m.validateHead(); err != nil {
		return err
	}
	if n := len(m.Entries); n == 0 || n > b.Entries {
		return fmt.Errorf("%d entries, want 1 to %d", n, b.Entries)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("entries: %w", err)
		}
		if err := m.Entries[name].validate(b); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
	}
	seen := map[Match]bool{}
	for i, machine := range m.Machines {
		if seen[machine.Match] {
			return fmt.Errorf("machine %d: matches the same as one before it", i+1)
		}
		seen[machine.Match] = true
		if err := m.validateMachine(machine, b); err != nil {
			return fmt.Errorf("machine %d: %w", i+1, err)
		}
	}
	if err := cmp.Or(m.validateDocument(), m.validateMore(b)); err != nil {
		return err
	}
	if m.Default == nil && (len(m.Machines) > 0 || m.Documents) {
		return nil
	}
	if err := m.validateBoot(m.Default, b); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// validateHead checks all that stands above the entries.
func (m *Manifest) validateHead() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("format %d, this program reads format %d", m.Format, Format)
	case m.Epoch < 1:
		return fmt.Errorf("epoch %d, want 1 or more", m.Epoch)
	case m.Version < 1:
		return fmt.Errorf("version %d, want 1 or more", m.Version)
	case m.Issued.IsZero() || !m.Issued.Before(m.Expires):
		return errors.New("want a time of issue and a later one of expiry")
	}
	for _, f := range []struct{ what, value string }{
		{"product", m.Product}, {"arch", m.Arch}, {"channel", m.Channel},
	} {
		if err := CheckName(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	return nil
}

// validateDocument checks what a site with a document for each machine may
// hold, and what such a document may.
func (m *Manifest) validateDocument() error {
	if m.Documents && (m.Document != "" || len(m.Machines) > 0) {
		return errors.New("machines have documents of their own, but it names some")
	}
	if m.Document == "" {
		return nil
	}
	if len(m.Machines) != 1 || m.Default != nil {
		return errors.New("a document is for exactly one machine and has no default")
	}
	if id := DocumentID(m.Machines[0].Match); id != m.Document {
		return fmt.Errorf("document %+q: its machine has %q", clip(m.Document), id)
	}
	return nil
}

// validateMachine checks one record. Of one that this program does not know in
// full, only whom it is for is left.
func (m *Manifest) validateMachine(x Machine, b Bounds) error {
	if err := CheckMatch(x.Match); err != nil || x.Unknown != "" {
		return err
	}
	return cmp.Or(m.validateBoot(x.Boot, b), m.validateMenu(x.Menu, b), netconf.Check(x.Networks), CheckEnv(x.Env))
}

// validateMore checks what stands beside entries and machines.
func (m *Manifest) validateMore(b Bounds) error {
	if len(m.Files) > b.Files || len(m.Optional) > b.Optional {
		return fmt.Errorf("%d files and %d optional keys, at most %d and %d", len(m.Files), len(m.Optional), b.Files, b.Optional)
	}
	for _, name := range m.Optional {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("optional: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if err := cmp.Or(CheckName(name), checkRef(m.Files[name], b.Image)); err != nil {
			return fmt.Errorf("file %+q: %w", clip(name), err)
		}
	}
	return cmp.Or(m.validateMenu(m.Menu, b), CheckLimits(m.Limits))
}

// validateMenu checks a menu, if there is one that this program knows in full.
func (m *Manifest) validateMenu(menu *Menu, b Bounds) error {
	if menu == nil || menu.Unknown != "" {
		return nil
	}
	if menu.Seconds < 1 || menu.Seconds > b.MenuSeconds {
		return fmt.Errorf("menu of %d seconds, want 1 to %d", menu.Seconds, b.MenuSeconds)
	}
	if err := m.validateNames(menu.Entries); err != nil {
		return fmt.Errorf("menu: %w", err)
	}
	return nil
}

// validateBoot checks a list of entries to boot.
func (m *Manifest) validateBoot(names []string, b Bounds) error {
	if n := len(names); n == 0 || n > b.Boot {
		return fmt.Errorf("%d entries to boot, want 1 to %d", n, b.Boot)
	}
	return m.validateNames(names)
}

// validateNames checks that each names an entry of its own.
func (m *Manifest) validateNames(names []string) error {
	for i, name := range names {
		if _, ok := m.Entries[name]; !ok {
			return fmt.Errorf("there is no entry %+q", clip(name))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("entry %q stands twice", name)
		}
	}
	return nil
}

// Validate tells what is wrong with an entry that stands outside of a manifest;
// the error wraps [ErrMalformed]. One of an unknown kind passes if its title does.
func (e Entry) Validate() error {
	if err := e.validate(DefaultBounds()); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (e Entry) validate(b Bounds) error {
	if err := CheckTitle(e.Title); err != nil {
		return err
	}
	if e.Unknown != "" {
		return nil
	}
	all := e.contents()
	if len(all) != 1 {
		return errors.New("want exactly one kind: linux, local, power, script, rescue, flash, xen, live, iso or image")
	}
	return all[0].validate(b)
}
