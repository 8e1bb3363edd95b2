package site

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

// previous is what was published before.
type previous struct {
	// data and sigs are what the site offers, if anything.
	data, sigs []byte
	// manifest is data as an earlier or the newest statement lets it be read,
	// nil if none does; noted is the newest that the keys folder knows of.
	manifest *manifest.Manifest
	noted    keys.Publication
	floor    state.Floor // that of noted
	// ours tells that data is what the keys folder knows of: it was published
	// from here, whatever happened to the folder since.
	ours bool
}

// Stores returns what media of each of the set's statements believe, statement 1
// first. It fails where they could not follow to the newest.
func Stores(set *keys.Set) ([]*trust.Store, error) {
	first := set.Chain[0]
	store, err := trust.Anchor(first.Statement, first.Signature)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", first.Path(), err)
	}
	stores := []*trust.Store{store}
	for _, doc := range set.Chain[1:] {
		if store, err = store.Advance(doc.Statement, doc.Signature); err != nil {
			return nil, err
		}
		stores = append(stores, store)
	}
	return stores, nil
}

// begin looks at what is there and clears what an earlier run left unfinished.
func (p *publication) begin() error {
	if err := os.RemoveAll(filepath.Join(p.Dir, staging)); err != nil {
		return err
	}
	stores, err := Stores(p.Keys)
	if err != nil {
		return fmt.Errorf("media could not follow: %w", err)
	}
	if err := p.checkStatements(); err != nil {
		return err
	}
	published, err := keys.LoadPublished(p.Keys.Dir)
	if err != nil {
		return err
	}
	p.previous.noted, _ = published.Find(p.Arch, p.Channel)
	p.previous.floor = published.Floor(p.Arch, p.Channel)
	if err := p.look(stores); err != nil {
		return fmt.Errorf("%w: %w; publish into another folder, or move this one away", ErrForeign, err)
	}
	if err := p.checkOrigin(); err != nil {
		return err
	}
	if p.previous.noted.Version == 0 && p.previous.manifest == nil && p.AtLeast == 0 && p.Keys.Newest().Version > 1 {
		p.warn("nothing tells what these keys published before, so that versions begin at 1; machines that remember more refuse that: " +
			"restore published.json of the keys folder, or publish with --at-least")
	}
	latest := p.previous.noted.Issued
	if m := p.previous.manifest; m != nil && m.Issued.After(latest) {
		latest = m.Issued
	}
	if p.Now.Before(latest) { // now, or when that one was issued, a clock was wrong
		p.warn(fmt.Sprintf("the clock says %s, but a manifest was issued on %s; that becomes the date of this one",
			p.Now.UTC().Format(time.RFC3339), latest.Format(time.RFC3339)))
		p.Now = latest
	}
	return nil
}

// warn adds a warning to the result.
func (p *publication) warn(text string) {
	if p.result.Warning != "" {
		text = p.result.Warning + "; " + text
	}
	p.result.Warning = text
}

// checkFolder refuses a folder that holds something and no site. Whose site it
// is its manifest tells.
func (p *publication) checkFolder() error {
	if _, err := os.Lstat(filepath.Join(p.Dir, manifest.File)); err == nil {
		return nil
	}
	names, err := os.ReadDir(p.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := []string{"objects", "trust", manifest.DocumentDir, manifest.Signature, staging, chunks.CastrDir}
	for _, e := range names {
		if !slices.Contains(ours, e.Name()) {
			return fmt.Errorf("%w: %s holds %q, and no manifest", ErrForeign, p.Dir, e.Name())
		}
	}
	return nil
}

// checkOrigin refuses what would take a channel away from its site. A folder
// with the newest publication in it is that site, wherever it was moved to.
func (p *publication) checkOrigin() error {
	o, noted := p.Origin, p.previous.noted
	if o.TakeOver || o.Folder == "" || noted.Folder == "" {
		return nil
	}
	if o.Recipe == noted.Recipe && (o.Folder == noted.Folder || p.previous.ours) {
		return nil
	}
	return fmt.Errorf("%w: %q is what %s publishes to %s, not %s to %s",
		ErrElsewhere, p.Channel, noted.Recipe, noted.Folder, o.Recipe, o.Folder)
}

// checkStatements refuses a site with other statements than the keys folder's:
// two with one number are two sites.
func (p *publication) checkStatements() error {
	for _, doc := range append(p.Keys.Chain[:len(p.Keys.Chain):len(p.Keys.Chain)], keys.Document{Version: p.Keys.Newest().Version + 1}) {
		name := filepath.Join(p.Dir, filepath.FromSlash(doc.Path()))
		have, err := readFile(name, trust.MaxStatementSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(have, doc.Statement) {
			return fmt.Errorf("%w: %s is not what %s holds", ErrForeign, name, p.Keys.Dir)
		}
	}
	return nil
}

// look reads the manifest of the site, which must be known: noted in the keys
// folder, or signed by keys of one of the statements.
func (p *publication) look(stores []*trust.Store) error {
	prev := &p.previous
	var err error
	if prev.data, prev.sigs, err = readPair(p.Dir, manifest.File, manifest.MaxSize); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	prev.ours = prev.noted.Version > 0 && object.OfBytes(prev.data).SHA256 == prev.noted.SHA256
	var refusal error
	for i := len(stores) - 1; i >= 0 && prev.manifest == nil; i-- {
		m, err := p.read(stores[i], prev.data, prev.sigs)
		if err == nil {
			prev.manifest = m
		} else if refusal == nil {
			refusal = err // that of the newest statement
		}
	}
	switch {
	case prev.manifest != nil:
		return prev.manifest.Suits(p.Product, p.Arch, p.Channel)
	case prev.ours:
		return nil // its signatures are lost, and about to be replaced
	}
	return fmt.Errorf("%s: %w", filepath.Join(p.Dir, manifest.File), refusal)
}

// read opens a manifest by what an earlier statement says. Keys that were
// revoked since do not count.
func (p *publication) read(store *trust.Store, data, sigs []byte) (*manifest.Manifest, error) {
	v, err := store.Open(trust.PurposeManifest, data, sigs, p.Now)
	if err != nil {
		return nil, err
	}
	for _, r := range p.store.Statement().Revoked.Keys {
		for _, fpr := range v.Signers() {
			if fpr == r.Fingerprint {
				return nil, fmt.Errorf("signed by key %s, which is revoked: %s", fpr, r.Reason)
			}
		}
	}
	m, err := manifest.Decode(v)
	if err != nil {
		return nil, err
	}
	if epoch := store.Statement().Epoch; m.Epoch != epoch || m.Document != "" {
		return nil, fmt.Errorf("manifest of epoch %d with document %q, want epoch %d", m.Epoch, m.Document, epoch)
	}
	return m, nil
}

// next returns the version of the manifest to come.
func (p *publication) next() (int64, error) {
	epoch := p.store.Statement().Epoch
	var newest int64
	if p.previous.noted.Epoch == epoch {
		newest = p.previous.noted.Version
	}
	if m := p.previous.manifest; m != nil && m.Epoch == epoch {
		newest = max(newest, m.Version)
	}
	newest = max(newest, p.AtLeast-1)
	if newest == math.MaxInt64 {
		return 0, fmt.Errorf("manifest version %d: there is no next one", newest)
	}
	return newest + 1, nil
}
