package keys

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/payload/trust"
)

// Collected tells what became of a request.
type Collected struct {
	Request
	// Signers have signed; Needed counts what is still missing, and any of
	// Missing can do it.
	Signers []trust.Fingerprint `json:"signers"`
	Needed  int                 `json:"needed"`
	Missing []trust.Fingerprint `json:"missing,omitzero"`
	// Refused are files that do not count, with the reason: signatures, or the
	// request itself, which then has no purpose and is neither needed nor done.
	Refused []string `json:"refused,omitzero"`
	// Done is where the result lies once nothing is needed: a statement in the
	// folder of statements, where it is in force; a manifest's signatures in
	// File+".sig", for publishing.
	Done string `json:"done,omitzero"`
}

// Collect merges the signatures that lie beside requests, and completes those
// that have enough: a statement comes into force and its request is removed; a
// manifest gets its signature file. A path is a request's file, a folder of
// requests, or a signature from elsewhere, whose name ends in ".sig"; without
// requests it looks in [Set.Pending]. After a statement came into force the
// Set is an old one; [Load] reads the new.
func Collect(s *Set, now time.Time, paths ...string) ([]Collected, error) {
	unlock, err := lock(s.Dir, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	files, more, err := s.requests(paths)
	if err != nil {
		return nil, err
	}
	var all []Collected
	for _, file := range files {
		// A statement that came into force changes who can sign the next one.
		if s, err = Load(s.Dir); err != nil {
			return nil, err
		}
		c, err := s.collect(file, more, now)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// requests sorts paths into requests, statements first, and signatures.
func (s *Set) requests(paths []string) (files, more []string, err error) {
	for _, path := range paths {
		if strings.HasSuffix(path, ".sig") {
			more = append(more, path)
			continue
		}
		list, err := requestFiles(path)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, list...)
	}
	if len(files) == 0 && len(more) == len(paths) && exists(s.Pending()) {
		if files, err = requestFiles(s.Pending()); err != nil {
			return nil, nil, err
		}
	}
	slices.SortStableFunc(files, func(a, b string) int { return isManifestRequest(a) - isManifestRequest(b) })
	return files, more, nil
}

// requestFiles returns the requests in a folder, or the file itself.
func requestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

// collect counts the signatures for one request, and completes it if it can.
func (s *Set) collect(file string, more []string, now time.Time) (Collected, error) {
	c, err := s.tally(file, more, now)
	if err != nil || c.Purpose == "" || !c.done() {
		return c, err
	}
	if c.Done, err = s.finish(c.Request, now); err != nil {
		return Collected{}, err
	}
	return c, nil
}

// tally counts the signatures for one request. One that is refused has no
// purpose.
func (s *Set) tally(file string, more []string, now time.Time) (Collected, error) {
	r, err := ReadRequest(s, file)
	if err != nil {
		// It does not keep others from being completed.
		return Collected{Request: Request{File: file}, Refused: []string{err.Error()}}, nil
	}
	names, err := signatureFiles(file)
	if err != nil {
		return Collected{}, err
	}
	j, err := newJudge(r, now)
	if err != nil {
		return Collected{}, err
	}
	c := Collected{Request: r}
	for _, name := range append(names, more...) {
		sig, err := readFile(name)
		if err == nil {
			err = j.count(sig)
		}
		if err != nil {
			c.Refused = append(c.Refused, fmt.Sprintf("%s: %v", name, err))
		}
	}
	c.Signers, c.Needed, c.Missing = r.signers(), r.needed(), r.missing()
	return c, nil
}

// finish puts a statement in force, or a manifest's signatures beside it.
func (s *Set) finish(r Request, now time.Time) (string, error) {
	if r.Purpose == trust.PurposeManifest {
		if _, err := s.Store.Open(r.Purpose, r.data, r.sigs(), now); err != nil {
			return "", err
		}
		if err := renameio.WriteFile(r.File+".sig", r.sigs(), 0o644); err != nil {
			return "", err
		}
		return r.File + ".sig", nil
	}
	doc := Document{Version: s.Newest().Version + 1, Statement: r.data, Signature: r.sigs()}
	store, err := s.Store.Advance(doc.Statement, doc.Signature)
	if err != nil {
		return "", err
	}
	w := &writer{}
	if s.Unfinished {
		if err := s.settle(w, s.Store.Statement()); err != nil {
			return "", err
		}
	}
	if err := s.install(w, doc, store.Statement()); err != nil {
		return "", err
	}
	if err := Discard(r.File); err != nil {
		return "", fmt.Errorf("trust statement %d is in force, but its request stays: %w", doc.Version, err)
	}
	return filepath.Join(s.Dir, doc.Path()), nil
}

// judge counts signatures for one piece of data, each by itself.
type judge struct {
	ballot
	panel   *trust.Panel
	purpose trust.Purpose
	data    []byte
}

// newJudge returns the judge of a request, as of now.
func newJudge(r Request, now time.Time) (judge, error) {
	var able []trust.Key
	for _, k := range r.keys {
		if slices.Contains(r.able, k.Fingerprint) {
			able = append(able, k)
		}
	}
	panel, err := trust.NewPanel(now, r.revoked, able...)
	return judge{ballot: r.ballot, panel: panel, purpose: r.Purpose, data: r.data}, err
}

// count adds the signers of one signature file. A file without any is an error.
func (j judge) count(sig []byte) error {
	signers, err := j.panel.Count(j.purpose, j.data, sig)
	if err != nil {
		return err
	}
	for _, fpr := range signers {
		if _, twice := j.have[fpr]; !twice {
			j.ballot.count(fpr, sig)
		}
	}
	return nil
}
