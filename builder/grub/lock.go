package grub

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Admin is the name that GRUB asks for beside the password.
const Admin = "admin"

// Bounds of a password's rounds of PBKDF2. Debian's grub-mkpasswd-pbkdf2 takes
// 10,000; GRUB does some 100,000 a second on an old machine.
const (
	minRounds = 10_000
	maxRounds = 1_000_000
)

// passwordHash matches what grub-mkpasswd-pbkdf2 prints, with a salt of 8 to 256
// bytes and a hash of 32 to 256.
var passwordHash = regexp.MustCompile(`^grub\.pbkdf2\.sha512\.([1-9][0-9]{0,8})\.(?:[0-9A-Fa-f]{2}){8,256}\.(?:[0-9A-Fa-f]{2}){32,256}$`)

// CheckPassword tells what is wrong with the hash of a password, and does not
// repeat it.
func CheckPassword(hash string) error {
	m := passwordHash.FindStringSubmatch(hash)
	if m == nil {
		return errors.New(`not what grub-mkpasswd-pbkdf2 prints, "grub.pbkdf2.sha512.ROUNDS.SALT.HASH"`)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < minRounds || n > maxRounds {
		return fmt.Errorf("%s rounds of PBKDF2, want %d to %d", m[1], minRounds, maxRounds)
	}
	return nil
}

// checkLocks validates password and locks. A machine that nobody stands at must
// not wait for a password, whatever firmware it has.
func (m Menu) checkLocks() error {
	if m.Password != "" {
		if err := CheckPassword(m.Password); err != nil {
			return fmt.Errorf("menu: password: %w", err)
		}
	}
	for i, e := range m.Entries {
		if e.Locked && m.Password == "" {
			return fmt.Errorf("menu: entry %d is locked, and there is no password", i+1)
		}
	}
	for _, f := range firmwares {
		if i := m.starts(f); i >= 0 && m.Entries[i].Locked {
			return fmt.Errorf("menu: entry %d is locked, and starts on %s where nobody chooses: it would wait for the password for ever", i+1, f.name)
		}
	}
	return nil
}

// firmware is what decides which entries are shown.
type firmware struct {
	name     string
	platform Platform
	secure   bool // Secure Boot is on
}

var firmwares = []firmware{{"a BIOS", BIOS, false}, {"UEFI", UEFI, false}, {"UEFI with Secure Boot", UEFI, true}}

// starts returns the index of the entry that starts where nobody chooses, or -1
// where none is shown.
func (m Menu) starts(f firmware) int {
	shown := func(e Entry) bool {
		return (e.Platform == Any || e.Platform == f.platform) && !(f.secure && e.Unsigned())
	}
	if shown(m.Entries[m.Default]) {
		return m.Default
	}
	for i, e := range m.Entries {
		if shown(e) {
			return i
		}
	}
	return -1
}
