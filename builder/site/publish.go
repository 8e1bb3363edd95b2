package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// staging is the folder, on the site's own file system, where files grow until
// they are whole. No server should hand out names that begin with a dot.
const staging = ".staging"

// PublishOptions say what to publish and where.
type PublishOptions struct {
	// Dir is the site's folder, made if need be.
	Dir string
	// Keys are the keys of the site; Sign signs its manifests.
	Keys *keys.Set
	Sign keys.Signer
	// Product must equal the trust statement's; empty takes it from there.
	Product string
	Arch    string
	Channel string
	// Entries by name, what each machine boots, and what all others do.
	Entries  map[string]Entry
	Machines []manifest.Machine
	Default  []string
	// Valid is how long the manifest may be used, from Now on.
	Valid time.Duration
	// Now is the present.
	Now time.Time
}

// Entry is one thing to boot: a kernel, its initrds in order, its command line.
type Entry struct {
	Title   string
	Kernel  File
	Initrd  []File
	Cmdline string
}

// File is where the bytes of an object are.
type File struct {
	Path string
	object.Ref
}

// Result tells what was published.
type Result struct {
	Version int64     `json:"version"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Objects are named by the manifest; Added of them, with Bytes bytes, were
	// new to the site.
	Objects int   `json:"objects"`
	Added   int   `json:"added"`
	Bytes   int64 `json:"bytes"`
	// Signers are the keys that signed.
	Signers []trust.Fingerprint `json:"signers"`
}

// Publish makes the folder offer exactly what o says, as a manifest with the
// next version. Publishing the same again is publishing: it extends the expiry.
// After an error the site still offers what it did before.
//
// What cannot be verified is not written over: a manifest in the folder that
// these keys did not sign, or one for another product, is [ErrForeign].
func Publish(ctx context.Context, o PublishOptions) (Result, error) {
	product := o.Keys.Store.Statement().Product
	if o.Product != "" && o.Product != product {
		return Result{}, fmt.Errorf("product %q: the keys are for %q", o.Product, product)
	}
	o.Product = product
	for _, dir := range []string{"objects", "trust"} {
		if err := makeDir(filepath.Join(o.Dir, dir)); err != nil {
			return Result{}, err
		}
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	defer os.RemoveAll(filepath.Join(o.Dir, staging))
	p := &publication{PublishOptions: o, store: o.Keys.Store}
	objects := func() error { return p.objects(ctx) }
	for _, step := range []func() error{p.begin, p.describe, p.sign, objects, p.statements, p.replace} {
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	return p.result, nil
}

// publication is one run of Publish.
type publication struct {
	PublishOptions
	store    *trust.Store
	previous *manifest.Manifest // nil for the first
	manifest *manifest.Manifest
	data     []byte
	sigs     []byte
	result   Result
}

// begin looks at what is there and clears what an earlier run left unfinished.
func (p *publication) begin() error {
	if err := os.RemoveAll(filepath.Join(p.Dir, staging)); err != nil {
		return err
	}
	m, err := Open(p.Dir, p.store, p.Now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w; publish into another folder, or move this one away", ErrForeign, err)
	}
	if err := m.Suits(p.Product, p.Arch, p.Channel); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrForeign, p.Dir, err)
	}
	if p.Now.Before(m.Issued) {
		return fmt.Errorf("the clock says %s, but manifest version %d was issued on %s: set the clock",
			p.Now.UTC().Format(time.RFC3339), m.Version, m.Issued.Format(time.RFC3339))
	}
	if m.Version == math.MaxInt64 {
		return fmt.Errorf("manifest version %d: there is no next one", m.Version)
	}
	p.previous = m
	return nil
}

// describe makes the manifest.
func (p *publication) describe() error {
	m := &manifest.Manifest{
		Epoch: 1, Version: 1, Issued: p.Now, Expires: p.Now.Add(p.Valid),
		Product: p.Product, Arch: p.Arch, Channel: p.Channel,
		Entries: map[string]manifest.Entry{}, Machines: p.Machines, Default: p.Default,
	}
	if p.previous != nil {
		m.Version = p.previous.Version + 1
	}
	for name, e := range p.Entries {
		l := &manifest.Linux{Kernel: e.Kernel.Ref, Cmdline: e.Cmdline}
		for _, f := range e.Initrd {
			l.Initrd = append(l.Initrd, f.Ref)
		}
		m.Entries[name] = manifest.Entry{Title: e.Title, Linux: l}
	}
	var err error
	p.data, err = manifest.Encode(m)
	return err
}

// sign gets the signatures and looks at the pair with the eyes of a machine.
func (p *publication) sign() error {
	var err error
	if p.sigs, err = p.Sign(trust.PurposeManifest, p.data); err != nil {
		return fmt.Errorf("sign the manifest: %w", err)
	}
	v, err := p.store.Open(trust.PurposeManifest, p.data, p.sigs, p.Now)
	if err != nil {
		return fmt.Errorf("a machine would refuse the new manifest: %w", err)
	}
	if doubts := v.Doubts(); len(doubts) > 0 {
		return fmt.Errorf("a machine with a clock would refuse the new manifest: %s", doubts[0])
	}
	if p.manifest, err = manifest.Decode(v); err != nil {
		return err
	}
	m := p.manifest
	p.result = Result{Version: m.Version, Issued: m.Issued, Expires: m.Expires, Signers: v.Signers()}
	return nil
}

// statements puts the trust statements in their places. One that is there
// already must be the same: two statements with one number are two sites.
func (p *publication) statements() error {
	for _, doc := range p.Keys.Chain {
		name := filepath.Join(p.Dir, doc.Path())
		have, err := readFile(name, trust.MaxStatementSize)
		if err == nil && !bytes.Equal(have, doc.Statement) {
			return fmt.Errorf("%w: %s is another statement than the one in %s", ErrForeign, name, p.Keys.Dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := p.update(doc.Path()+".sig", doc.Signature); err != nil {
			return err
		}
		if err := p.update(doc.Path(), doc.Statement); err != nil {
			return err
		}
	}
	return syncDir(filepath.Join(p.Dir, filepath.Dir(p.Keys.Newest().Path())))
}

// replace swaps the manifest for the new one and reads the site as a machine
// would.
func (p *publication) replace() error {
	for _, step := range p.swap() {
		if err := step(); err != nil {
			return err
		}
	}
	m, err := Open(p.Dir, p.store, p.Now)
	if err != nil {
		return fmt.Errorf("published, but not readable: %w", err)
	}
	if m.Version != p.manifest.Version {
		return fmt.Errorf("published version %d, but the site has version %d", p.manifest.Version, m.Version)
	}
	return nil
}

// swap returns the steps that replace the manifest. Before and after each of
// them manifest and signatures fit.
func (p *publication) swap() []func() error {
	both := p.sigs
	old, err := readFile(filepath.Join(p.Dir, manifest.Signature), trust.MaxSignatureSize)
	if err == nil && len(both)+len(old) <= trust.MaxSignatureSize {
		both = append(bytes.Clone(both), old...)
	}
	return []func() error{
		func() error { return p.commit(manifest.Signature, both) },
		func() error { return p.commit(manifest.File, p.data) },
		func() error { return p.commit(manifest.Signature, p.sigs) },
	}
}

// commit writes a file at the top of the site through to the disk.
func (p *publication) commit(name string, data []byte) error {
	if err := p.write(name, data); err != nil {
		return err
	}
	return syncDir(p.Dir)
}

// update writes a file that does not hold data already.
func (p *publication) update(name string, data []byte) error {
	have, err := readFile(filepath.Join(p.Dir, name), int64(len(data)))
	if err == nil && bytes.Equal(have, data) {
		return nil
	}
	return p.write(name, data)
}

// write replaces the file at the site path name, whole and synced.
func (p *publication) write(name string, data []byte) error {
	f, err := p.stage(name)
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// stage returns a file that will become the site path name, readable by every
// web server.
func (p *publication) stage(name string) (*renameio.PendingFile, error) {
	dir := filepath.Join(p.Dir, staging)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return renameio.NewPendingFile(filepath.Join(p.Dir, name), renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o644))
}

// makeDir makes the folder and those above it that are missing, open to web
// servers whatever the umask. What is there stays as it is.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) { // another publication was faster
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// lock keeps other publications out of dir. It ends with the process.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another publication is at work: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// syncDir makes the renames in a folder last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
