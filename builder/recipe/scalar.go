package recipe

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "kKMGTiB ")
	unit, known := units()[strings.TrimSpace(string(text[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 1 || n > math.MaxInt64/unit {
		return fmt.Errorf("size %q", text)
	}
	*s = Size(n * unit)
	return nil
}

// units maps what may stand behind a number of bytes to what it means.
func units() map[string]int64 {
	return map[string]int64{
		"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil || n < 1 || n > 0o777 {
		return fmt.Errorf("mode %q", text)
	}
	*m = Mode(n)
	return nil
}

// Perm returns the permissions, 0644 where none are set.
func (f ModeFile) Perm() fs.FileMode { return fs.FileMode(cmp.Or(f.Mode, 0o644)) }
