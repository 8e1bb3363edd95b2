package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// CheckMatch tells what is wrong with a Match: nothing is set, or what is set is
// not spelled as a machine would spell it. A UUID must not be one of the two
// that SMBIOS (DSP0134, section 7.2.1) gives to machines that have none.
func CheckMatch(m Match) error {
	digits := strings.ReplaceAll(m.UUID, "-", "")
	switch {
	case m == Match{}:
		return errors.New("want at least one of mac, uuid and serial")
	case m.MAC != "" && !shaped(m.MAC, macShape):
		return fmt.Errorf("mac %+q: want it like \"52:54:00:12:34:56\", in lower case", clip(m.MAC))
	case m.UUID != "" && !shaped(m.UUID, uuidShape):
		return fmt.Errorf("uuid %+q: want it like \"4c4c4544-0042-3510-8050-b4c04f4d5931\", in lower case", clip(m.UUID))
	case m.UUID != "" && (strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == ""):
		return fmt.Errorf("uuid %q: stands for \"no uuid\", many machines have it", m.UUID)
	}
	if err := checkText(m.Serial, maxSerial); err != nil {
		return fmt.Errorf("serial %+q: %w", clip(m.Serial), err)
	}
	return nil
}

// Shapes of the names of a machine; x is a lower-case hexadecimal digit.
const (
	macShape  = "xx:xx:xx:xx:xx:xx"
	uuidShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
)

// shaped tells whether s is like shape, where x stands for a lower-case
// hexadecimal digit and everything else for itself.
func shaped(s, shape string) bool {
	if len(s) != len(shape) {
		return false
	}
	for i := range len(s) {
		hex := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
		if shape[i] == 'x' && !hex || shape[i] != 'x' && s[i] != shape[i] {
			return false
		}
	}
	return true
}
