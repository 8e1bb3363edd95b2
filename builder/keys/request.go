package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/payload/trust"
)

// PendingDir is the folder, in the keys folder, of what waits for signatures.
const PendingDir = "pending"

// Request is bytes that wait for signatures: File, with what it is in words in
// File+".txt", and signatures in File+"."+fingerprint+".sig".
type Request struct {
	File    string        `json:"file"`
	Purpose trust.Purpose `json:"purpose"`
	// Summary says what the bytes are and what they change, a line each. It
	// comes from the bytes themselves, not from the text beside them.
	Summary []string `json:"summary"`
	// Able are the keys whose signatures count, those to be asked first in
	// front. Without a [Set] nobody knows.
	Able []trust.Fingerprint `json:"able,omitzero"`

	data    []byte
	product string
	// ballot counts who has signed. Its keys are among these, and what is
	// revoked does not count.
	ballot
	keys    []trust.Key
	revoked trust.Revoked
}

// Pending is the folder of requests of the keys folder.
func (s *Set) Pending() string { return filepath.Join(s.Dir, PendingDir) }

// Request writes data into the folder dir, under a name made from what it is,
// with a text for those who will sign. One that is there with the same bytes
// stays as it is, with the signatures it has; other bytes are an error.
func (s *Set) Request(dir string, p trust.Purpose, data []byte) (Request, error) {
	return s.request(dir, p, data, nil)
}

// request is Request where some have signed.
func (s *Set) request(dir string, p trust.Purpose, data []byte, have map[trust.Fingerprint][]byte) (Request, error) {
	r, err := s.describe(p, data)
	if err != nil {
		return Request{}, err
	}
	for fpr, sig := range have {
		r.count(fpr, sig)
	}
	name := filepath.Join(dir, r.File)
	if have, err := readRequestFile(name); err == nil {
		if !bytes.Equal(have, data) {
			return Request{}, fmt.Errorf("%s waits for signatures and says something else; collect them, or drop it with: farboot keys discard %s", name, name)
		}
		r.File = name
		return r, nil
	}
	w := &writer{}
	r.write(w, dir)
	if w.err != nil {
		return Request{}, errors.Join(w.err, w.undo())
	}
	return r, nil
}

// write puts a request into a folder, the bytes last.
func (r *Request) write(w *writer, dir string) {
	name := filepath.Join(dir, r.File)
	w.mkdir(dir, 0o755)
	w.try(func() error { return renameio.WriteFile(name+".txt", []byte(r.text()), 0o644) })
	w.try(func() error { return renameio.WriteFile(name, r.data, 0o644) })
	w.made = append(w.made, name+".txt", name)
	r.File = name
}

// text is what the people who sign read. It holds no more than the bytes do:
// who is careful looks at those, with "farboot keys sign".
func (r *Request) text() string {
	var b strings.Builder
	for _, line := range r.Summary {
		fmt.Fprintln(&b, line)
	}
	for _, fpr := range r.signers() {
		fmt.Fprintf(&b, "signed by %s\n", fpr)
	}
	fmt.Fprintf(&b, "\nBeside what was signed when this was written it takes %s, by any of these keys:\n", count(r.needed(), "signature"))
	for _, fpr := range r.missing() {
		i := slices.IndexFunc(r.keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
		fmt.Fprintf(&b, "  %s  %s\n", fpr, printable(userID(r.keys[i])))
	}
	fmt.Fprintf(&b, "\nSign in this folder, with farboot:\n\n  farboot keys sign %s\n\nor with gpg, for FINGERPRINT one of the above:\n\n  %s\n",
		r.File, gpgCommand(r.File, r.Purpose))
	done := "farboot keys collect"
	if r.Purpose == trust.PurposeManifest {
		done = "farboot publish RECIPE --collect"
	}
	fmt.Fprintf(&b, "\nThen bring the signature back beside %s, for:\n\n  %s\n", r.File, done)
	return b.String()
}

// signatureName is the file of one key's signature.
func signatureName(file string, fpr trust.Fingerprint) string {
	return file + "." + string(fpr) + ".sig"
}

// ReadRequest reads bytes that wait for signatures, for people to look at
// before they sign. They must be a well-formed statement or manifest. With a
// set, which may be nil, the summary tells what changes from its newest
// statement, and what does not follow from that is an error.
func ReadRequest(s *Set, file string) (Request, error) {
	data, err := readRequestFile(file)
	if err != nil {
		return Request{}, err
	}
	r, err := s.describe("", data)
	if err != nil {
		return Request{}, fmt.Errorf("%s: %w", file, err)
	}
	r.File = file
	return r, nil
}

// SignRequest signs the bytes of a request and writes the signature beside
// them. It returns the name of that file.
func SignRequest(r Request, k SigningKey, now time.Time) (string, error) {
	if r.Able != nil && !slices.Contains(r.Able, k.Fingerprint) {
		return "", fmt.Errorf("key %s has no say in %s", k.Fingerprint, r.File)
	}
	sig, err := k.Sign(r.Purpose, r.data, now)
	if err != nil {
		return "", err
	}
	name := signatureName(r.File, k.Fingerprint)
	if err := renameio.WriteFile(name, sig, 0o644); err != nil {
		return "", err
	}
	return name, nil
}

// Discard removes a request with its text and signatures, for example after
// what it asked for was published.
func Discard(file string) error {
	names, err := signatureFiles(file)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range append([]string{file, file + ".txt"}, names...) {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// The folder goes with its last request.
	_ = os.Remove(filepath.Dir(file))
	return errors.Join(errs...)
}

// signatureFiles returns the files beside a request that claim to be
// signatures for it, sorted.
func signatureFiles(file string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(file)+".") && strings.HasSuffix(e.Name(), ".sig") {
			names = append(names, filepath.Join(filepath.Dir(file), e.Name()))
		}
	}
	return names, nil
}
