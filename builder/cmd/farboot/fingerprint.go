package main

import (
	"fmt"
	"strings"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// minFingerprint is how much of a fingerprint is enough, in hex digits: it only
// has to tell the few keys of one statement apart.
const minFingerprint = 8

// findKey returns the key of the newest statement that a user names by its
// fingerprint, or by the beginning or the end of it: gpg and the machines'
// screens show the last 16 digits. Blanks are as gpg prints them.
func findKey(set *keys.Set, text string) (trust.Fingerprint, error) {
	name := strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	name = strings.TrimPrefix(name, "0X")
	if len(name) < minFingerprint || strings.Trim(name, "0123456789ABCDEF") != "" {
		return "", withHint(fmt.Errorf("key %q: want a fingerprint, or at least %d digits of one", text, minFingerprint), listKeys)
	}
	st := set.Store.Statement()
	var found []trust.Fingerprint
	for _, k := range st.Keys {
		if matches(k.Fingerprint, name) {
			found = append(found, k.Fingerprint)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", unknownKey(st, text, name)
	}
	return "", fmt.Errorf("key %q: both %s and %s begin or end like that", text, found[0], found[1])
}

// listKeys is the hint for a fingerprint that does not fit.
const listKeys = `"farboot keys list" shows the keys`

// matches tells whether name is the beginning or the end of the fingerprint.
func matches(fpr trust.Fingerprint, name string) bool {
	return strings.HasPrefix(string(fpr), name) || strings.HasSuffix(string(fpr), name)
}

// unknownKey is the error for a key that the statement does not list.
func unknownKey(st trust.Statement, text, name string) error {
	for _, k := range st.Revoked.Keys {
		if matches(k.Fingerprint, name) {
			return fmt.Errorf("key %q: was revoked on %s: %s", text, day(k.Since), k.Reason)
		}
	}
	return withHint(fmt.Errorf("key %q: trust statement %d lists no such key", text, st.Version), listKeys)
}
