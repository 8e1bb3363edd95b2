package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// inGPG is where a key is that gpg holds.
const inGPG = "gpg"

// gpgKey returns a key that gpg holds, found by the fingerprint of the key or of
// a signing subkey. gpg finds its home, its agent and a smartcard as it always
// does, and asks for a passphrase or PIN itself: no secret passes through here.
func gpgKey(fpr trust.Fingerprint) (SigningKey, error) {
	data, err := gpg(nil, "--export-options", "export-minimal,no-export-attributes", "--export", string(fpr))
	if err != nil {
		return SigningKey{}, err
	}
	if len(data) == 0 {
		return SigningKey{}, fmt.Errorf("gpg has no key %s", fpr)
	}
	public, err := trust.ParseKey(data)
	if err != nil {
		return SigningKey{}, fmt.Errorf("gpg's key %s: %w", fpr, err)
	}
	if _, err := trust.NewPanel(time.Now(), trust.Revoked{}, public); err != nil {
		return SigningKey{}, fmt.Errorf("gpg's key %s: %w", fpr, err)
	}
	user, err := gpgUser(fpr, public)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{Fingerprint: public.Fingerprint, Where: inGPG, sign: func(p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
		sig, err := gpg(data, gpgSign(user, p)...)
		if err != nil {
			return nil, err
		}
		panel, err := trust.NewPanel(now, trust.Revoked{}, public)
		if err != nil {
			return nil, err
		}
		if _, err := panel.Count(p, data, sig); err != nil {
			return nil, fmt.Errorf("gpg's signature: %w", err)
		}
		return sig, nil
	}}, nil
}

// gpgUser returns what --local-user takes so that gpg makes no choice of its
// own: the subkey that was named, or else the primary key, or else, if that
// only certifies, its newest signing subkey.
func gpgUser(fpr trust.Fingerprint, public trust.Key) (string, error) {
	if fpr != public.Fingerprint {
		return string(fpr) + "!", nil
	}
	entity, err := entityOf(public)
	if err != nil {
		return "", err
	}
	now := time.Now()
	self, err := entity.PrimarySelfSignature(now, nil)
	if err != nil {
		return "", fmt.Errorf("gpg's key %s: %w", fpr, err)
	}
	if !self.FlagsValid || self.FlagSign {
		return string(fpr) + "!", nil
	}
	sub, ok := entity.SigningKey(now, nil)
	if !ok {
		return "", fmt.Errorf("gpg's key %s cannot sign", fpr)
	}
	return fmt.Sprintf("%X!", sub.PublicKey.Fingerprint), nil
}

// gpgSecrets returns the keys of which gpg has the secret part, or knows it to be
// on a smartcard. Nobody is asked: where gpg was never used it is not started,
// since it would make itself a home.
func gpgSecrets() map[trust.Fingerprint]bool {
	held := map[trust.Fingerprint]bool{}
	home := os.Getenv("GNUPGHOME")
	if home == "" {
		home = filepath.Join(os.Getenv("HOME"), ".gnupg")
	}
	if !exists(home) {
		return held
	}
	out, err := gpg(nil, "--with-colons", "--list-secret-keys")
	if err != nil {
		return held
	}
	for line := range strings.Lines(string(out)) {
		// "fpr:::::::::FINGERPRINT:", see doc/DETAILS of GnuPG.
		if f := strings.Split(line, ":"); f[0] == "fpr" && len(f) > 9 {
			held[trust.Fingerprint(f[9])] = true
		}
	}
	return held
}

// gpgSign are the arguments for a signature that counts, whatever the user's
// gpg.conf says. [gpgCommand] writes the same for people.
func gpgSign(user string, p trust.Purpose) []string {
	return []string{
		"--no-textmode", "--local-user", user, "--digest-algo", "SHA512",
		"--set-notation", trust.Notation + "=" + string(p), "--output", "-", "--detach-sign",
	}
}

// gpgCommand is what somebody without farboot types to sign a file.
func gpgCommand(file string, p trust.Purpose) string {
	return fmt.Sprintf("gpg --local-user FINGERPRINT! --digest-algo SHA512 --set-notation %s=%s --output %s --detach-sign %s",
		trust.Notation, p, signatureName(file, "FINGERPRINT"), file)
}

// gpg runs gpg on data and returns what it writes.
func gpg(data []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("gpg", append([]string{"--batch", "--no-armor"}, args...)...)
	var out, msg bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &msg
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: install gnupg", err)
	}
	if err != nil {
		return nil, fmt.Errorf("gpg: %w: %s", err, strings.Join(strings.FieldsFunc(msg.String(), func(r rune) bool { return r == '\n' }), "; "))
	}
	return out.Bytes(), nil
}
