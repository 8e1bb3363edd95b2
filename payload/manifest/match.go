package manifest

import (
	"errors"
	"fmt"
	"regexp"
)

// Shapes of what a machine is recognised by, as Linux prints them.
var (
	macShape  = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)
	uuidShape = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// CheckMatch tells what is wrong with a Match: nothing is set, or what is set
// is not spelled as a machine would spell it.
func CheckMatch(m Match) error {
	switch {
	case m == Match{}:
		return errors.New("want at least one of mac, uuid and serial")
	case m.MAC != "" && !macShape.MatchString(m.MAC):
		return fmt.Errorf("mac %+q: want six pairs of hexadecimal digits, 52:54:00:12:34:56", clip(m.MAC))
	case m.UUID != "" && !uuidShape.MatchString(m.UUID):
		return fmt.Errorf("uuid %+q: want 8-4-4-4-12 hexadecimal digits", clip(m.UUID))
	}
	if err := checkText(m.Serial, maxTitle); err != nil {
		return fmt.Errorf("serial %+q: %w", clip(m.Serial), err)
	}
	return nil
}
