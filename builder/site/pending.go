package site

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

// PendingDir is where manifests for the site in the folder dir wait for
// signatures: beside it, so that nobody is served what is not decided.
func PendingDir(dir string) string { return filepath.Clean(dir) + ".pending" }

// CompleteOptions say what to complete.
type CompleteOptions struct {
	// Dir is the site's folder.
	Dir  string
	Keys *keys.Set
	// File is the manifest that waited, with its signatures in File+".sig", as
	// [keys.Collect] leaves them.
	File string
	// Now is the present.
	Now time.Time
	// Origin is that of [PublishOptions].
	Origin Origin
}

// Complete ends a publication for which [Publish] had too few keys at hand:
// what it made has been signed meanwhile, and becomes what the site offers. The
// request and what belongs to it are removed.
//
// If something else was published meanwhile, the version is taken, and the
// error is [ErrStale].
func Complete(ctx context.Context, o CompleteOptions) (Result, error) {
	p := &publication{PublishOptions: PublishOptions{Dir: o.Dir, Keys: o.Keys, Now: o.Now, Origin: o.Origin}}
	m, sigs, err := p.pending(o.File)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", o.File, err)
	}
	p.Arch, p.Channel = m.Arch, m.Channel
	due := func() error {
		version, err := p.next()
		if err == nil && (m.Version < version || m.Epoch != p.Keys.Store.Statement().Epoch) {
			err = fmt.Errorf("%w: %s is version %d.%d, the next is %d.%d; remove it, publish once more and sign that",
				ErrStale, o.File, m.Epoch, m.Version, p.Keys.Store.Statement().Epoch, version)
		}
		return err
	}
	p.manifest = m
	signed := func() error { return p.signed(ctx, sigs) }
	present := func() error { return p.present(ctx) }
	replace := func() error { return p.replace(ctx) }
	result, err := p.run(ctx, p.begin, due, p.revoked, signed, present, replace, p.record)
	if err != nil {
		return Result{}, err
	}
	if err := keys.Discard(o.File); err != nil {
		return Result{}, fmt.Errorf("version %d is published, but its request stays: %w", result.Version, err)
	}
	return result, nil
}

// pending reads a manifest with collected signatures.
func (p *publication) pending(file string) (*manifest.Manifest, []byte, error) {
	var sigs []byte
	var err error
	if p.data, sigs, err = readPair(filepath.Dir(file), filepath.Base(file), manifest.MaxSize); err != nil {
		return nil, nil, err
	}
	v, err := p.Keys.Store.Open(trust.PurposeManifest, p.data, sigs, p.Now)
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Decode(v)
	if err == nil && (m.Documents || m.Document != "") {
		err = errors.New("the documents of machines are not there; publish with all keys at hand")
	}
	return m, sigs, err
}

// present makes sure that the site still holds the objects.
func (p *publication) present(ctx context.Context) error {
	images := images(p.manifest)
	for _, ref := range p.manifest.Refs() {
		if err := verify(ctx, filepath.Join(p.Dir, ref.Path()), ref, images[ref]); err != nil {
			return fmt.Errorf("publish once more: %w", err)
		}
		p.result.Objects++
	}
	return nil
}
