package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of the texts that end up on a console, in a bootloader's menu or on a
// kernel's command line.
const (
	// maxCmdline is what x86 kernels keep: COMMAND_LINE_SIZE (2048,
	// arch/x86/include/asm/setup.h) less the closing NUL. A longer line is cut
	// without a word.
	maxCmdline = 2047
	// maxXenLine is for Xen's options and for dom0's command line: of the 1024
	// bytes that Xen has for either (xen_commandline_t in xen/kernel.h and
	// MAX_GUEST_CMDLINE in public/xen.h), less 64 for "acpi_rsdp=0x7f7e014 " or
	// "no-real-mode ", for what Xen appends itself, and the closing NUL.
	maxXenLine = 960
	// maxTitle fits into one line of an 80-column menu with its borders.
	maxTitle = 64
	// maxName keeps names of entries and products short enough to type.
	maxName = 64
	// maxSerial is for a machine's serial number. SMBIOS sets no limit; vendors
	// use 7 to 30 characters.
	maxSerial = 64
	// maxDisk is for a disk's serial number or wwid, as sysfs shows them: ATA's
	// "t10." names have 68 characters, NVMe's "nvme." ones up to 140.
	maxDisk = 160
	// maxPath is for a path inside an image: longer ones nobody types.
	maxPath = 1024
)

// CheckCmdline tells what is wrong with a kernel command line: anything but
// printable ASCII, more than 2047 bytes, blanks around it, or a double quote
// that is not closed (the kernel would then read the rest as one value). The
// empty line is fine.
func CheckCmdline(s string) error {
	if err := checkText(s, maxCmdline); err != nil {
		return fmt.Errorf("command line %+q: %w", clip(s), err)
	}
	if strings.Count(s, `"`)%2 != 0 {
		return fmt.Errorf("command line %+q: a double quote is not closed", clip(s))
	}
	return nil
}

// CheckTitle tells what is wrong with a menu title: it has 1 to 64 printable
// ASCII characters and no blanks around them. Everything else (control
// characters, escape codes, bidi overrides) could make a console lie, and the
// fonts of bootloaders hold little more.
func CheckTitle(s string) error {
	if s == "" {
		return errors.New("title is empty")
	}
	if err := checkText(s, maxTitle); err != nil {
		return fmt.Errorf("title %+q: %w", clip(s), err)
	}
	return nil
}

// CheckName tells what is wrong with the name of an entry, a product or a
// channel: it has 1 to 64 lower-case letters and digits, with single '-', '_'
// or '.' between them. Such a name is safe as a file name and as a JSON key.
func CheckName(s string) error {
	if s == "" {
		return errors.New("name is empty")
	}
	if len(s) > maxName {
		return fmt.Errorf("name %+q: %d characters, at most %d fit", clip(s), len(s), maxName)
	}
	joined := true // no letter or digit since the start or the last joiner
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			joined = false
		case (c == '-' || c == '_' || c == '.') && !joined:
			joined = true
		default:
			return fmt.Errorf("name %+q: want lower-case letters and digits, with single '-', '_' or '.' between them", s)
		}
	}
	if joined {
		return fmt.Errorf("name %+q: ends with %+q", s, s[len(s)-1:])
	}
	return nil
}

// checkText refuses text that is too long, padded or not printable ASCII.
func checkText(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%d bytes, at most %d fit", len(s), most)
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			return fmt.Errorf("character %U is not printable ASCII", r)
		}
	}
	if strings.TrimSpace(s) != s {
		return errors.New("blanks before or after it")
	}
	return nil
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
