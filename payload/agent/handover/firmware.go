package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf16"
)

// ErrFirmware is wrapped by the errors of [BootNext]: the firmware has nothing
// else to boot, or cannot be told.
var ErrFirmware = errors.New("no other boot device of the firmware")

// Numbers of UEFI 2.10: section 3.1.3 has the form of a boot option, 3.3 the
// names of variables, 8.2.1 their attributes, 10.3 device paths.
const (
	// efiGlobal is the vendor GUID of the specification's own variables.
	efiGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// efiKept: non-volatile, and for boot services and run time.
	efiKept = 0x7
	// maxOption bounds a variable, in bytes. A boot option has some hundred.
	maxOption = 16 << 10
	// maxOrder is how many boot options are looked at. Machines have some ten.
	maxOrder = 256

	optionActive   = 0x1    // LOAD_OPTION_ACTIVE
	optionHidden   = 0x8    // LOAD_OPTION_HIDDEN
	optionCategory = 0x1f00 // LOAD_OPTION_CATEGORY: 0 is an operating system, 0x100 the setup
)

// BootNext makes the firmware boot something else than this medium with the next
// restart, and only with that one: it writes the EFI variable BootNext into dir,
// where efivarfs is mounted, and returns the description of the chosen option.
// That is the one that follows in BootOrder, from the start again after the
// last, on what this machine was started by (BootCurrent). Options that are
// switched off, lead into the firmware's own setup or shell, or boot from the
// network are passed over: they would end on a screen that nobody looks at, or
// back here.
//
// A machine with a BIOS has no such variable: there a restart is all there is.
func BootNext(dir string) (title string, err error) {
	current, err := numbers(dir, "BootCurrent")
	if err == nil && len(current) != 1 {
		err = fmt.Errorf("BootCurrent has %d numbers", len(current))
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	order, err := numbers(dir, "BootOrder")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	// Not found is -1: then the order counts from its start.
	after := slices.Index(order, current[0]) + 1
	for _, n := range slices.Concat(order[after:], order[:after]) {
		if n == current[0] {
			continue
		}
		data, err := variable(dir, fmt.Sprintf("Boot%04X", n))
		if err != nil {
			continue // firmware forgets options and leaves their numbers behind
		}
		if title, ok := leadsAway(data); ok {
			return title, writeNext(dir, n)
		}
	}
	return "", fmt.Errorf("%w: none of %d boot options is another disk", ErrFirmware, len(order))
}

// variable returns the content of an EFI variable without its attributes.
func variable(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name+"-"+efiGlobal))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxOption+1))
	if err != nil || len(data) < 4 || len(data) > maxOption {
		return nil, fmt.Errorf("EFI variable %s: %d bytes (%w)", name, len(data), err)
	}
	return data[4:], nil
}

// numbers reads a variable that is a row of 16-bit numbers.
func numbers(dir, name string) ([]uint16, error) {
	data, err := variable(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no EFI variable %s: %w", name, err)
	}
	if err != nil {
		return nil, err
	}
	var all []uint16
	for ; len(data) >= 2 && len(all) < maxOrder; data = data[2:] {
		all = append(all, binary.LittleEndian.Uint16(data))
	}
	return all, nil
}

// leadsAway reads a boot option and tells its description and whether it may
// boot an operating system that lies on this machine.
func leadsAway(data []byte) (title string, ok bool) {
	if len(data) < 6 {
		return "", false
	}
	attributes, pathLen := binary.LittleEndian.Uint32(data), int(binary.LittleEndian.Uint16(data[4:]))
	if attributes&optionActive == 0 || attributes&(optionHidden|optionCategory) != 0 {
		return "", false
	}
	title, rest := text16(data[6:])
	return title, pathLen <= len(rest) && local(rest[:pathLen])
}

// text16 splits off a string in UTF-16 that ends in a zero. Control characters
// are left out: it goes to the screen.
func text16(data []byte) (string, []byte) {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		u := binary.LittleEndian.Uint16(data)
		if u == 0 {
			return string(utf16.Decode(units)), data[2:]
		}
		if u >= ' ' && u != 0x7f {
			units = append(units, u)
		}
	}
	return "", nil
}

// local tells whether a device path is none of the network and none into the
// firmware itself.
func local(devicePath []byte) bool {
	for len(devicePath) >= 4 {
		kind, sub, size := devicePath[0], devicePath[1], int(binary.LittleEndian.Uint16(devicePath[2:]))
		switch {
		case kind == 0x7f: // the end
			return true
		case size < 4 || size > len(devicePath):
			return false
		case kind == 3 && (sub == 11 || sub == 12 || sub == 13 || sub == 24): // MAC, IPv4, IPv6, URI
			return false
		case kind == 4 && (sub == 6 || sub == 7): // file and volume of the firmware
			return false
		case kind == 5 && size >= 6 && binary.LittleEndian.Uint16(devicePath[4:]) == 6: // BIOS: network
			return false
		}
		devicePath = devicePath[size:]
	}
	return false
}

// writeNext writes BootNext, by one write as efivarfs wants it. The variable is
// among those that efivarfs does not make immutable (efivar_variable_is_removable
// in drivers/firmware/efi/vars.c), so there is no flag to take off.
func writeNext(dir string, n uint16) error {
	data := binary.LittleEndian.AppendUint32(nil, efiKept)
	data = binary.LittleEndian.AppendUint16(data, n)
	if err := os.WriteFile(filepath.Join(dir, "BootNext-"+efiGlobal), data, 0o644); err != nil {
		return fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	return nil
}
