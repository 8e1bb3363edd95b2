package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// PublishOptions say what to publish and where.
type PublishOptions struct {
	// Dir is the site's folder, made if need be.
	Dir string
	// Keys are the keys of the site. What was published is noted in their
	// folder, see [keys.Record].
	Keys *keys.Set
	// Sign signs manifests, and several at a time where there are Documents. If
	// it fails with [keys.ErrPending], so does Publish, see [Complete].
	Sign keys.Signer
	// Product must equal the trust statement's; empty takes it from there.
	Product string
	Arch    string
	Channel string
	// Entries by name, what each machine boots, and what all others do.
	Entries  map[string]manifest.Entry
	Machines []manifest.Machine
	Default  []string
	// Menu is for the machines without one, Limits tighten those of the agent, and
	// Files are for scripts, as [manifest.Manifest] has them.
	Menu   *manifest.Menu
	Limits *manifest.Limits
	Files  map[string]object.Ref
	// Objects is, for all that is named above, the path of the file with its bytes.
	Objects map[object.Ref]string
	// Trees are images whose chunks lie in the site's [chunks.CastrDir].
	Trees []chunker.Image
	// Documents gives each of the Machines a document of its own.
	Documents bool
	// Valid is how long the manifest may be used, from Now on.
	Valid time.Duration
	// Now is the present.
	Now time.Time
	// Origin tells this site from others of the channel.
	Origin Origin
	// AtLeast is the lowest version that the manifest may have; 0 for none.
	AtLeast int64
}

// Origin is what a site is made from. A channel belongs to one: who tries
// something elsewhere would use up version numbers, and raise the floor of media
// above what the site offers.
type Origin struct {
	// Recipe and Folder are relative to the project; empty means that nobody
	// asks.
	Recipe, Folder string
	// TakeOver gives the channel to this recipe and folder, whosever it was.
	TakeOver bool
}

// Result tells what was published.
type Result struct {
	// Statement is the newest trust statement, and Epoch the one in which
	// Version counts.
	Statement int64     `json:"statement"`
	Epoch     int64     `json:"epoch"`
	Version   int64     `json:"version"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"`
	// Objects are named by the manifest; Added of them, with Bytes bytes, were
	// new to the site.
	Objects int   `json:"objects"`
	Added   int   `json:"added"`
	Bytes   int64 `json:"bytes"`
	// Chunks are those that were new to the site's tree.
	Chunks int `json:"chunks,omitzero"`
	// Documents are those of single machines.
	Documents int `json:"documents,omitzero"`
	// Signers are the keys that signed.
	Signers []trust.Fingerprint `json:"signers"`
	// Warning says that the clock is wrong, or was when the manifest before was
	// issued, or that nothing is known of what was published before.
	Warning string `json:"warning,omitzero"`
}

// Publish makes the folder offer exactly what o says, as a manifest with the
// next version. Publishing the same again is publishing: it extends the expiry.
// After an error the site still offers what it did before, unless the error came
// while files were renamed: then the site may have the new statements with the
// old manifest, which in a new epoch nobody accepts. Publishing again mends it.
//
// The next version is one more than the site's own and one more than the newest
// that the keys folder knows of, so that a lost site goes on counting.
//
// What is not known to be this site's is not written over: a manifest that none
// of these keys signed, one for another product, a statement that the keys
// folder does not have, a folder with other things and no manifest are
// [ErrForeign]. A channel that belongs to another [Origin] is [ErrElsewhere]. An object that the trust statement
// revokes is [accept.ErrRevoked].
//
// Where too few keys are at hand and Sign leaves a request for others, the
// objects are on the site already, and the error wraps [keys.ErrPending].
func Publish(ctx context.Context, o PublishOptions) (Result, error) {
	product := o.Keys.Store.Statement().Product
	if o.Product != "" && o.Product != product {
		return Result{}, fmt.Errorf("product %q: the keys are for %q", o.Product, product)
	}
	p := &publication{PublishOptions: o}
	sign := func() error { return p.sign(ctx) }
	objects := func() error { return p.objects(ctx) }
	documents := func() error { return p.documents(ctx) }
	replace := func() error { return p.replace(ctx) }
	return p.run(ctx, p.begin, p.describe, p.revoked, sign, objects, documents, p.carry, replace, p.record)
}

// publication is one run of Publish or Complete.
type publication struct {
	PublishOptions
	store *trust.Store // of the newest statement
	// previous is what the site offers so far; its zero is nothing.
	previous previous
	manifest *manifest.Manifest
	data     []byte
	sigs     []byte
	// judge and accepted are what a machine makes of them.
	judge    *accept.Judge
	accepted *accept.Accepted
	// carried are signatures by the newest keys for the previous manifest.
	carried []byte
	// images are those of its objects that are images of disks.
	images map[object.Ref]bool
	// removed are the files of documents that go once the manifest is replaced.
	removed []string
	result  Result
}

// run takes the steps, with the folder locked.
func (p *publication) run(ctx context.Context, steps ...func() error) (Result, error) {
	p.store = p.Keys.Store
	p.Product = p.store.Statement().Product
	if err := p.checkFolder(); err != nil {
		return Result{}, err
	}
	for _, dir := range []string{"objects", "trust"} {
		if err := makeDir(filepath.Join(p.Dir, dir)); err != nil {
			return Result{}, err
		}
	}
	unlock, err := lock(p.Dir)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	defer os.RemoveAll(filepath.Join(p.Dir, staging))
	for _, step := range steps {
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	return p.result, nil
}

// describe makes the manifest.
func (p *publication) describe() error {
	version, err := p.next()
	if err != nil {
		return err
	}
	m := &manifest.Manifest{
		Epoch: p.store.Statement().Epoch, Version: version,
		Issued: p.Now.UTC().Truncate(time.Second), Expires: p.Now.Add(p.Valid).UTC().Truncate(time.Second),
		Product: p.Product, Arch: p.Arch, Channel: p.Channel,
		Entries: p.Entries, Documents: p.Documents, Default: p.Default,
		Menu: p.Menu, Limits: p.Limits, Files: p.Files,
	}
	if !p.Documents {
		m.Machines = p.Machines
	}
	p.manifest = m
	p.data, err = manifest.Encode(m)
	return err
}

// revoked refuses objects that no machine would start.
func (p *publication) revoked() error {
	for name, e := range p.manifest.Entries {
		if err := p.notRevoked(e.Refs()...); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
	}
	for name, ref := range p.manifest.Files {
		if err := p.notRevoked(ref); err != nil {
			return fmt.Errorf("file %q: %w", name, err)
		}
	}
	return nil
}

// notRevoked refuses objects that the newest statement revokes.
func (p *publication) notRevoked(refs ...object.Ref) error {
	for _, ref := range refs {
		if r, ok := p.store.Revokes(ref.SHA256); ok {
			return fmt.Errorf("object %s: %w since %s: %s", ref.SHA256, accept.ErrRevoked, r.Since.Format(time.DateOnly), r.Reason)
		}
	}
	return nil
}

// sign gets the signatures. Where they have to come from elsewhere, it uploads
// the objects meanwhile: they are of no use to anyone without a manifest.
func (p *publication) sign(ctx context.Context) error {
	sigs, err := p.Sign(trust.PurposeManifest, p.data)
	if errors.Is(err, keys.ErrPending) && !p.Documents {
		if err := p.objects(ctx); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("sign the manifest: %w", err)
	}
	return p.signed(ctx, sigs)
}

// signed looks at the manifest and its signatures with the eyes of a machine
// that remembers what was published before.
func (p *publication) signed(ctx context.Context, sigs []byte) error {
	p.judge = accept.New(p.store, p.terms())
	files := memory{manifest.File: p.data, manifest.Signature: sigs}
	a, err := p.judge.Manifest(ctx, files.read, deskTime(p.Now))
	if err != nil {
		return fmt.Errorf("a machine would refuse the new manifest: %w", err)
	}
	p.accepted, p.manifest, p.sigs = a, a.Manifest, sigs
	p.result.Statement, p.result.Epoch, p.result.Version = a.Statement, a.Manifest.Epoch, a.Manifest.Version
	p.result.Issued, p.result.Expires, p.result.Signers = a.Manifest.Issued, a.Manifest.Expires, a.Signers
	return nil
}

// terms are those of a medium for this site.
func (p *publication) terms() accept.Terms {
	return accept.Terms{Product: p.Product, Arch: p.Arch, Channel: p.Channel, Floor: p.previous.floor}
}

// record notes the publication in the keys folder.
func (p *publication) record() error {
	err := keys.Record(p.Keys.Dir, keys.Publication{
		Arch: p.Arch, Channel: p.Channel, Recipe: p.Origin.Recipe, Folder: p.Origin.Folder, Statement: p.result.Statement, Epoch: p.result.Epoch,
		Version: p.result.Version, SHA256: object.OfBytes(p.data).SHA256, Issued: p.result.Issued, Expires: p.result.Expires,
	})
	if err != nil {
		return fmt.Errorf("version %d is published, but not noted: %w", p.result.Version, err)
	}
	return nil
}
