package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/farboot/farboot/builder/source/apt/deb822"
	"github.com/farboot/farboot/payload/object"
)

// releaseFile is what a verified InRelease says. The format is that of
// https://wiki.debian.org/DebianRepository/Format, "Release" files.
type releaseFile struct {
	suite, codename  string
	date, validUntil time.Time // validUntil is zero where the archive sets none
	architectures    []string
	byHash           bool
	// allApart says that packages for "all" stand in an index of their own.
	allApart bool
	files    map[string]object.Ref
}

// openRelease verifies an InRelease and parses what was signed: nothing else
// of data is looked at, and there must be nothing else.
func openRelease(data []byte, keys keyring, at time.Time) (*releaseFile, error) {
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, fmt.Errorf("%w: not a clear-signed message (%.40q...)", ErrUntrusted, data)
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: the clear-signed message is incomplete or broken", ErrUntrusted)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the signature", ErrUntrusted, len(rest))
	}
	signatures, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: signature: %w", ErrUntrusted, err)
	}
	// Not block.VerifySignature: that is the library's v1, which takes SHA-1.
	if err := keys.verify(block.Bytes, signatures, at); err != nil {
		return nil, err
	}
	return parseRelease(block.Bytes)
}

// parseRelease reads signed text, whose lines end in CR LF.
func parseRelease(signed []byte) (*releaseFile, error) {
	r := deb822.NewReader(bytes.NewReader(bytes.ReplaceAll(signed, []byte("\r\n"), []byte("\n"))))
	p, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	f := &releaseFile{
		suite:         p.Get("Suite"),
		codename:      p.Get("Codename"),
		architectures: strings.Fields(p.Get("Architectures")),
		byHash:        p.Get("Acquire-By-Hash") == "yes",
	}
	f.allApart = slices.Contains(f.architectures, "all") && p.Get("No-Support-for-Architecture-all") != "Packages"
	if f.date, err = parseDate(p.Get("Date")); err != nil {
		return nil, fmt.Errorf("%w: Date: %w", ErrMalformed, err)
	}
	if until := p.Get("Valid-Until"); until != "" {
		if f.validUntil, err = parseDate(until); err != nil {
			return nil, fmt.Errorf("%w: Valid-Until: %w", ErrMalformed, err)
		}
	}
	if f.files, err = parseFiles(p.Get("SHA256")); err != nil {
		return nil, fmt.Errorf("%w: SHA256: %w", ErrMalformed, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: a second paragraph", ErrMalformed)
	}
	return f, nil
}

// parseDate reads the form that date -Ru writes, and the zone names in use.
func parseDate(s string) (time.Time, error) {
	for _, zone := range []string{"UTC", "GMT", "Z", "-0700"} {
		if t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 "+zone, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not like %q", s, "Sat, 11 Jul 2026 10:16:37 UTC")
}

// parseFiles reads lines of "hash size path".
func parseFiles(list string) (map[string]object.Ref, error) {
	files := map[string]object.Ref{}
	for line := range strings.SplitSeq(list, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("%q: want hash, size and path", line)
		}
		ref, err := parseRef(words[0], words[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", words[2], err)
		}
		if other, ok := files[words[2]]; ok && other != ref {
			return nil, fmt.Errorf("%s: stands twice", words[2])
		}
		files[words[2]] = ref
	}
	return files, nil
}

// parseRef reads a hash and a size in bytes.
func parseRef(hash, size string) (object.Ref, error) {
	id, err := object.ParseID(hash)
	if err != nil {
		return object.Ref{}, err
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return object.Ref{}, fmt.Errorf("size %q: want a number of bytes", size)
	}
	return object.Ref{Size: n, SHA256: id}, nil
}

// check tells whether the release is the one asked for, and timely.
func (f *releaseFile) check(suite string, at time.Time) error {
	switch {
	case !f.isFor(suite):
		return fmt.Errorf("%w: asked for %q, got suite %q, codename %q", ErrWrongSuite, suite, f.suite, f.codename)
	case !slices.Contains(f.architectures, "amd64"):
		return fmt.Errorf("%w: has packages for %q, not for amd64", ErrWrongSuite, f.architectures)
	case f.date.After(at.Add(clockSkew)):
		return fmt.Errorf("%w: its Date is %s, in the future of %s", ErrStale, stamp(f.date), stamp(at))
	case !f.validUntil.IsZero() && at.After(f.validUntil):
		return fmt.Errorf("%w: was valid until %s, and it is %s", ErrStale, stamp(f.validUntil), stamp(at))
	}
	return nil
}

// isFor tells whether the release calls itself suite, by its codename or by
// its suite. Ubuntu's noble-updates has the codename noble too, so what
// follows the release's name must agree wherever it stands.
func (f *releaseFile) isFor(suite string) bool {
	if suite == "" || f.suite != suite && f.codename != suite {
		return false
	}
	return f.suite == "" || pocket(f.suite) == pocket(suite)
}

// pocket returns what a suite's name ends in, where that tells an addition
// from the release itself.
func pocket(suite string) string {
	for _, p := range []string{"-updates", "-security", "-proposed-updates", "-proposed", "-backports", "-backports-sloppy"} {
		if strings.HasSuffix(suite, p) {
			return p
		}
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
