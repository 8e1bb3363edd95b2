// Package password tells whether a password is the one that a hash of crypt(3) was
// made from: SHA-512 ("$6$") and yescrypt ("$y$"), as mkpasswd prints them and
// Linux has them in /etc/shadow.
//
// The main calls are [Parse] and [Hash.Matches]. Parse promises that what it takes
// can be computed in bounded time and memory, whoever wrote it. The package makes no
// hashes, and has no opinion on what a good password is: a hash in a manifest can be
// read by everybody who reads the site, so that a weak one is found at home.
package password

import (
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"
)

const (
	// MaxSize bounds a password, in bytes; crypt(3) itself takes 512.
	MaxSize = 512
	// maxRounds bounds the work of SHA-512, of which 5000 rounds are the default:
	// 500000 take a slow machine some seconds.
	maxRounds = 500_000
	// maxMemory bounds that of yescrypt, in bytes. Debian's default takes 16 MiB.
	maxMemory = 64 << 20
	// alphabet is of crypt(3)'s own base 64, in order.
	alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrHash is wrapped by the errors of [Parse].
var ErrHash = errors.New("not a password hash that can be used")

// Hash is a hash that can be computed.
type Hash struct {
	compute func(typed []byte) ([]byte, error) // the whole text for a password
	text    string
}

// Parse reads a hash. Its error does not quote it.
func Parse(text string) (Hash, error) {
	parse := map[string]func(string) (Hash, error){"$6$": parseSHA512, "$y$": parseYescrypt}[text[:min(3, len(text))]]
	if parse == nil {
		return Hash{}, fmt.Errorf(`%w: it begins with neither "$6$" nor "$y$"; "mkpasswd -m yescrypt" makes one`, ErrHash)
	}
	h, err := parse(text)
	if err != nil {
		return Hash{}, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return h, nil
}

// Matches tells whether the hash was made from what is typed. It takes as long as
// the hash says, and as much memory.
func (h Hash) Matches(typed []byte) bool {
	if h.compute == nil || len(typed) > MaxSize {
		return false
	}
	got, err := h.compute(typed)
	return err == nil && subtle.ConstantTimeCompare(got, []byte(h.text)) == 1
}

// parseSHA512 reads "$6$[rounds=N$]salt$hash", see crypt(5).
func parseSHA512(text string) (Hash, error) {
	fields, rounds := strings.Split(text[3:], "$"), 5000
	if n, ok := strings.CutPrefix(fields[0], "rounds="); ok && len(fields) == 3 {
		var err error
		// What is out of its bounds crypt(3) reads as another number.
		if rounds, err = strconv.Atoi(n); err != nil || n[0] == '0' || rounds < 1000 || rounds > maxRounds {
			return Hash{}, fmt.Errorf("%.20q rounds, want 1000 to %d", n, maxRounds)
		}
		fields = fields[1:]
	}
	if len(fields) != 2 || len(fields[0]) > 16 || !letters(fields[0]) || !letters(fields[1]) || len(fields[1]) != 86 {
		return Hash{}, errors.New("is no SHA-512 as crypt(5) has it")
	}
	salt, head := []byte(fields[0]), strings.TrimSuffix(text, fields[1])
	return Hash{text: text, compute: func(typed []byte) ([]byte, error) {
		return append([]byte(head), crypt.KeySHACrypt(sha512.New, typed, salt, rounds)...), nil
	}}, nil
}

// parseYescrypt reads "$y$jNr$salt$hash", where N and r are one letter each: the
// form that crypt_gensalt(3) gives it.
func parseYescrypt(text string) (Hash, error) {
	fields := strings.Split(text[3:], "$")
	if len(fields) != 3 || !letters(fields[0]) || !letters(fields[1]) || !letters(fields[2]) ||
		len(fields[0]) != 3 || fields[1] == "" || len(fields[2]) != 43 {
		return Hash{}, errors.New("is no yescrypt as crypt_gensalt(3) makes it")
	}
	_, log, blocks, err := yescrypt.DecodeSetting([]byte(fields[0]))
	if err != nil {
		return Hash{}, err
	}
	if memory := int64(128*blocks) << min(log, 40); memory > maxMemory {
		return Hash{}, fmt.Errorf("it takes %d MiB of memory, at most %d", memory>>20, maxMemory>>20)
	}
	// What the library cannot compute it tells at once, and not when somebody waits.
	if _, err := yescrypt.Hash(nil, []byte(text)); err != nil {
		return Hash{}, err
	}
	return Hash{text: text, compute: func(typed []byte) ([]byte, error) { return yescrypt.Hash(typed, []byte(text)) }}, nil
}

// letters tells whether text is of crypt(3)'s alphabet.
func letters(text string) bool { return strings.Trim(text, alphabet) == "" }
