package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

// carry has the newest keys sign what the site offers so far, so that it is
// good for a moment longer once the statement appears that names them.
//
// Only what was published from here is signed once more: a manifest that is
// merely signed by a key of yesterday may be the work of whoever has that key.
// In a new epoch nothing can be carried over.
func (p *publication) carry() error {
	prev := p.previous
	if p.Sign == nil || !prev.ours || prev.noted.Epoch != p.manifest.Epoch {
		return nil
	}
	if _, err := p.store.Open(trust.PurposeManifest, prev.data, prev.sigs, p.Now); err == nil {
		return nil
	}
	var err error
	if p.carried, err = p.Sign(trust.PurposeManifest, prev.data); err != nil {
		return fmt.Errorf("sign the previous manifest for its last moments: %w", err)
	}
	return nil
}

// replace swaps what the site offers for the new and reads it as media of every
// statement would.
func (p *publication) replace(ctx context.Context) error {
	steps, err := p.swap()
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	stores, err := Stores(p.Keys)
	if err != nil {
		return err
	}
	for _, store := range stores[max(0, len(stores)-1-trust.MaxHops):] {
		a, err := asMedium(ctx, store, p.terms(), Files(p.Dir), p.Now)
		if err != nil {
			return fmt.Errorf("published, but a medium with statement %d refuses it: %w", store.Statement().Version, err)
		}
		if a.SHA256 != p.accepted.SHA256 {
			return fmt.Errorf("published version %d, but the site has version %d", p.manifest.Version, a.Manifest.Version)
		}
	}
	return nil
}

// asMedium does what a medium with the given store does to read a site.
func asMedium(ctx context.Context, store *trust.Store, terms accept.Terms, files accept.Files, now time.Time) (*accept.Accepted, error) {
	j := accept.New(store, terms)
	if err := j.Walk(ctx, files); err != nil {
		return nil, err
	}
	return j.Manifest(ctx, files, deskTime(now))
}

// swap returns the steps that replace what the site offers. The bytes of all of
// them lie ready; what is left are renames, so that those in the middle, which
// a new epoch lets no reader stand between, follow each other at once.
func (p *publication) swap() ([]func() error, error) {
	signatures, err := p.ready(manifest.Signature, p.allSignatures())
	if err != nil {
		return nil, err
	}
	statements, err := p.statements()
	if err != nil {
		return nil, err
	}
	replacement, err := p.ready(manifest.File, p.data)
	if err != nil {
		return nil, err
	}
	final, err := p.ready(manifest.Signature, p.sigs)
	if err != nil {
		return nil, err
	}
	sync := func() error {
		return errors.Join(syncDir(filepath.Join(p.Dir, "trust")), syncDir(p.Dir))
	}
	steps := []func() error{join(signatures, sync)}
	steps = append(steps, statements...)
	return append(steps, p.exchangeDocuments, replacement, p.removeDocuments, join(sync, final, sync)), nil
}

// allSignatures returns those of the manifest to come and of the one that is
// there. One that does not fit does no harm to a machine.
func (p *publication) allSignatures() []byte {
	all := bytes.Join([][]byte{p.sigs, p.carried, p.previous.sigs}, nil)
	if len(all) > trust.MaxSignatureSize {
		return p.sigs
	}
	return all
}

// statements returns the steps that put the trust statements that are missing
// into their places, the newest first: who walks up from an older one meets all
// of them or none, and not one in the middle whose keys signed nothing here.
func (p *publication) statements() ([]func() error, error) {
	var steps []func() error
	for _, doc := range slices.Backward(p.Keys.Chain) {
		sigs, err := p.ready(doc.Path()+".sig", doc.Signature)
		if err != nil {
			return nil, err
		}
		statement, err := p.ready(doc.Path(), doc.Statement)
		if err != nil {
			return nil, err
		}
		steps = append(steps, join(sigs, statement))
	}
	return steps, nil
}

// ready writes a file through to the disk and returns the step that moves it to
// the site path name. There is nothing to do where it lies there already.
func (p *publication) ready(name string, data []byte) (func() error, error) {
	have, err := readFile(filepath.Join(p.Dir, name), int64(len(data)))
	if err == nil && bytes.Equal(have, data) && name != manifest.Signature {
		return func() error { return nil }, nil
	}
	f, err := p.stage(name)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync()); err != nil {
		return nil, errors.Join(err, f.Cleanup())
	}
	return f.CloseAtomicallyReplace, nil
}

// join makes one step of several.
func join(steps ...func() error) func() error {
	return func() error {
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
}
