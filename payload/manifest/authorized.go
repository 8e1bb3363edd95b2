package manifest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Bounds of the keys that let people in.
const (
	// minRSA is the shortest modulus of an RSA key, in bits: what NIST SP 800-57
	// and OpenSSH's own ssh-keygen ask for.
	minRSA = 3072
	// maxKey is for a line with a key, in bytes: RSA of 16384 bits, the largest
	// that OpenSSH takes, has 2800.
	maxKey = 4096
)

// CheckKeys tells what is wrong with the keys that let people in: there is none,
// or one that [CheckKey] refuses, or one twice.
func CheckKeys(keys []string) error {
	if most := DefaultBounds().Keys; len(keys) == 0 || len(keys) > most {
		return fmt.Errorf("%d keys, want 1 to %d", len(keys), most)
	}
	var seen []string
	for i, line := range keys {
		if err := CheckKey(line); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		key := strings.Fields(line)[1]
		if slices.Contains(seen, key) {
			return fmt.Errorf("key %d stands twice", i+1)
		}
		seen = append(seen, key)
	}
	return nil
}

// CheckKey tells what is wrong with a line of OpenSSH's authorized_keys (sshd(8)):
// a type, the key in base64, a comment. Options are refused, so that nobody
// believes in one that is not honoured. Types are ssh-ed25519, ecdsa-sha2-*, both
// with sk- before them, and ssh-rsa of 3072 bits or more.
func CheckKey(line string) error {
	if err := checkText(line, maxKey); err != nil {
		return fmt.Errorf("%+q: %w", clip(line), err)
	}
	kind, rest, _ := strings.Cut(line, " ")
	text, _, _ := strings.Cut(rest, " ")
	sizes, known := keySizes()[kind]
	if !known {
		return fmt.Errorf("%q: want a key's type first, and no options: ssh-ed25519, ecdsa-sha2-nistp256, sk-..., ssh-rsa", clip(kind))
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return fmt.Errorf("%q: not base64", clip(text))
	}
	fields, ok := wireStrings(key)
	if !ok || len(fields) != len(sizes)+1 || string(fields[0]) != kind {
		return fmt.Errorf("%q: no key of type %s", clip(text), kind)
	}
	for i, size := range sizes {
		if size != 0 && len(fields[i+1]) != size {
			return fmt.Errorf("%q: no key of type %s", clip(text), kind)
		}
	}
	if kind != "ssh-rsa" {
		return nil
	}
	if bits := new(big.Int).SetBytes(fields[2]).BitLen(); bits < minRSA {
		return fmt.Errorf("RSA of %d bits, want %d or more", bits, minRSA)
	}
	return nil
}

// keySizes returns, by a key's type, the sizes in bytes of what follows the type
// in the key; 0 is any. The sources are RFC 4253, section 6.6, RFC 5656, section
// 3.1, RFC 8709 and OpenSSH's PROTOCOL.u2f.
func keySizes() map[string][]int {
	return map[string][]int{
		"ssh-rsa":                            {0, 0},
		"ssh-ed25519":                        {32},
		"ecdsa-sha2-nistp256":                {len("nistp256"), 1 + 2*32},
		"ecdsa-sha2-nistp384":                {len("nistp384"), 1 + 2*48},
		"ecdsa-sha2-nistp521":                {len("nistp521"), 1 + 2*66},
		"sk-ssh-ed25519@openssh.com":         {32, 0},
		"sk-ecdsa-sha2-nistp256@openssh.com": {len("nistp256"), 1 + 2*32, 0},
	}
}

// wireStrings splits data into SSH's strings (RFC 4251, section 5).
func wireStrings(data []byte) (fields [][]byte, ok bool) {
	for len(data) > 0 {
		if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) > uint64(len(data)-4) {
			return nil, false
		}
		n := 4 + int(binary.BigEndian.Uint32(data))
		fields, data = append(fields, data[4:n]), data[n:]
	}
	return fields, true
}
