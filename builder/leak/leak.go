// Package leak keeps secret keys out of whatever leaves the operator's desk.
//
// [Scan] reads one file and fails, wrapping [ErrSecret], if it holds a private
// key: a PEM or OpenSSH private key block or an armored OpenPGP one anywhere
// in it, or a key as gpg's agent, PuTTY or age keep it; or if it is a binary
// OpenPGP packet stream with a secret key packet. The builder scans every file
// that goes into a medium or a site, before it goes.
//
// Scan does not look inside archives or compressed files, and it cannot know a
// password when it sees one, nor a key in binary DER, which is a few numbers
// among others. A program that merely contains the words
// "BEGIN PRIVATE KEY", as every TLS library does, is no secret: a block counts
// only with encoded key material behind its first line. [Image] is for disk images.
package leak

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// ErrSecret is wrapped by the error of a file that must not leave the desk.
var ErrSecret = errors.New("secret key")

const (
	// window is how much of a file is looked at together, in bytes; the
	// overlap is enough for a block's first line, its headers and some of its
	// body.
	window  = 64 << 10
	overlap = 1 << 10
	// maxPackets bounds the walk over an OpenPGP file. A public key with a
	// hundred certifications has fewer.
	maxPackets = 1000
	// sector is what files in an image begin on a multiple of, in bytes.
	sector = 512
)

// privateBlock finds a private key in text: the line that starts the block,
// headers if any, and 40 characters of base64. Lines may be indented, as in
// YAML, or commented out, and end in an escape, as in JSON.
var privateBlock = regexp.MustCompile(
	`-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----` + lineEnd +
		`(?:[A-Za-z-]+: [^\r\n]*` + lineEnd + `)*(?:` + lineEnd + `)?(?:[A-Za-z0-9+/]|\\+/){40}`)

// lineEnd is the end of a line, written out or escaped, and what may stand
// before the text of the next.
const lineEnd = `[ \t]*(?:\\+r)?\r?(?:\n|\\+n)[ \t#]*`

// others are private keys that are no block, each with the words that it cannot
// be without. Where programs hold such words as well, it is what follows them
// that tells.
var others = []struct {
	words, what string
	form        *regexp.Regexp
}{
	// gpg's private-keys-v1.d: a canonical S-expression, or lines "Name: value" of
	// which Key holds a readable one. A shadowed key only says which card has it,
	// and does not belong into a medium either. libgcrypt holds readable ones for
	// its own tests, not in such a line.
	{"private-key", "a private key of gpg's agent", regexp.MustCompile(
		`\((?:11:|21:protected-|20:shadowed-)private-key\([0-9]+:[a-z]+\(|(?:^|\n)Key:[ \t\r\n]*\((?:protected-|shadowed-)?private-key[ \t\r\n]*\(`)},
	// The PuTTY private key file format, versions 1 to 3: PuTTY's manual, appendix C.
	{"PuTTY-User-Key-File-", "a PuTTY private key", regexp.MustCompile(
		`PuTTY-User-Key-File-[0-9]: [^\r\n]+` + lineEnd + `Encryption: [a-z]`)},
	// age-keygen: Bech32 in capitals, 32 bytes or more.
	{"AGE-SECRET-KEY-", "an age secret key", regexp.MustCompile(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{58}`)},
}

// Scan reads r to its end and fails if it holds a secret key. The name is for
// the message.
func Scan(name string, r io.Reader) error { return scan(name, r, 1) }

// Image is Scan for a disk image. In one a block counts only where it begins on a
// sector, as files do: GnuTLS, and so every Debian, has private keys for its own
// tests in the middle of a library. What file systems keep beside other data is
// not found, such as files below 2 KiB on btrfs.
func Image(name string, r io.Reader) error { return scan(name, r, sector) }

// scan is Scan for blocks that begin at a multiple of align bytes.
func scan(name string, r io.Reader, align int64) error {
	br := bufio.NewReaderSize(r, window)
	head, err := br.Peek(window)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", name, err)
	}
	if secretPacket(head) {
		return found(name, "an OpenPGP secret key packet")
	}
	buf := make([]byte, 0, window+overlap)
	for start := int64(0); ; start += window - overlap {
		n, err := io.ReadFull(br, buf[len(buf):window])
		buf = buf[:len(buf)+n]
		// The plain search spares the slow one for files that hold no such words.
		if bytes.Contains(buf, []byte("PRIVATE KEY")) {
			for _, m := range privateBlock.FindAllSubmatchIndex(buf, -1) {
				if (start+int64(m[0]))%align == 0 {
					return found(name, "a block "+string(buf[m[2]:m[3]]))
				}
			}
		}
		for _, o := range others {
			if bytes.Contains(buf, []byte(o.words)) && o.form.Match(buf) {
				return found(name, o.what)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		keep := copy(buf, buf[len(buf)-overlap:])
		buf = buf[:keep]
	}
}

// Bytes scans data.
func Bytes(name string, data []byte) error { return Scan(name, bytes.NewReader(data)) }

// File scans the file at path.
func File(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	return Scan(name, f)
}

// secretPacket tells whether data starts with OpenPGP packets (RFC 9580,
// section 4) of which one is a secret key or subkey.
func secretPacket(data []byte) bool {
	r := packet.NewOpaqueReader(bytes.NewReader(data))
	for range maxPackets {
		p, err := r.Next()
		if err != nil {
			return false
		}
		if p.Tag == 5 || p.Tag == 7 { // secret key, secret subkey
			_, err := p.Parse()
			return err == nil
		}
	}
	return false
}

// found is the error for a secret.
func found(name, what string) error {
	return fmt.Errorf("%s: holds %s: %w", name, what, ErrSecret)
}
