package site

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// project is a desk with keys, two files to publish and a place for the site.
type project struct {
	dir     string
	secrets string
	options PublishOptions
}

func newProject(t testing.TB) *project {
	t.Helper()
	dir := t.TempDir()
	p := &project{dir: dir, secrets: filepath.Join(dir, "secret")}
	now := time.Now().Truncate(time.Second)
	set := p.keys(t, "keys", "demo", now)
	p.options.Objects = map[object.Ref]string{}
	kernel := p.file(t, "kernel", bytes.Repeat([]byte("kernel"), 100_000))
	initrd := p.file(t, "initrd", []byte("initrd"))
	p.options = PublishOptions{
		Objects: p.options.Objects,
		Dir:     filepath.Join(dir, "site"), Keys: set, Sign: set.Signer(p.secrets, nil, now),
		Arch: "amd64", Channel: "stable", Valid: 30 * 24 * time.Hour, Now: now,
		Entries: map[string]manifest.Entry{"installer": {Title: "Debian installer", Linux: &manifest.Linux{
			Kernel: kernel, Initrd: []object.Ref{initrd, kernel}, Cmdline: "quiet",
		}}},
		Default: []string{"installer"},
	}
	return p
}

// keys makes a keys folder.
func (p *project) keys(t testing.TB, name, product string, now time.Time) *keys.Set {
	t.Helper()
	dir := filepath.Join(p.dir, name)
	if _, err := keys.Init(keys.InitOptions{Dir: dir, Secrets: p.secrets, Product: product, Now: now}); err != nil {
		t.Fatal(err)
	}
	set, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// file makes a file to publish.
func (p *project) file(t testing.TB, name string, data []byte) object.Ref {
	t.Helper()
	name = filepath.Join(p.dir, name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	ref := object.OfBytes(data)
	p.options.Objects[ref] = name
	return ref
}

func (p *project) publish(t testing.TB) Result {
	t.Helper()
	res, err := Publish(t.Context(), p.options)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// terms are those of a medium for the site.
func (p *project) terms() accept.Terms {
	return accept.Terms{Product: "demo", Arch: "amd64", Channel: "stable"}
}

// offers fails unless the site, read by media of every statement, has the given
// version and every object of it.
func (p *project) offers(t testing.TB, version int64) {
	t.Helper()
	stores, err := Stores(p.options.Keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range stores {
		a, err := asMedium(t.Context(), store, p.terms(), Files(p.options.Dir), time.Now())
		if err != nil {
			t.Error(err)
			return
		}
		if a.Manifest.Version != version {
			t.Errorf("site has version %d, want %d", a.Manifest.Version, version)
		}
		for _, ref := range a.Manifest.Refs() {
			if err := verify(t.Context(), filepath.Join(p.options.Dir, ref.Path()), ref, false); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestPublish(t *testing.T) {
	p := newProject(t)
	res := p.publish(t)
	if res.Version != 1 || res.Objects != 2 || res.Added != 2 || res.Bytes != 600_006 || len(res.Signers) != 1 {
		t.Errorf("first result %+v", res)
	}
	p.offers(t, 1)
	p.options.Now = p.options.Now.Add(time.Second)
	again := p.publish(t)
	if again.Version != 2 || again.Added != 0 || !again.Expires.After(res.Expires) {
		t.Errorf("second result %+v after %+v", again, res)
	}
	p.offers(t, 2)

	doc := p.options.Keys.Newest()
	store, err := trust.Anchor(p.read(t, "trust/1.json"), p.read(t, "trust/1.json.sig"))
	if err != nil || store.Statement().Version != doc.Version {
		t.Errorf("published statement: %v", err)
	}
	want := map[string]bool{"trust/1.json": true, "trust/1.json.sig": true, "manifest.json": true, "manifest.json.sig": true}
	for _, ref := range p.options.Entries["installer"].Linux.Initrd {
		want[ref.Path()] = true
	}
	for name, mode := range p.list(t) {
		if !want[name] {
			t.Errorf("site holds %s", name)
		}
		if mode != 0o644 {
			t.Errorf("%s: mode %v, want 0644", name, mode)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("site lacks %v", want)
	}
}

func (p *project) read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.options.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// list returns every file of the site with its mode.
func (p *project) list(t testing.TB) map[string]fs.FileMode {
	t.Helper()
	all := map[string]fs.FileMode{}
	err := filepath.WalkDir(p.options.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(p.options.Dir, name)
		all[rel] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublishKeepsOldObjects(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	e := p.options.Entries["installer"]
	old := e.Linux.Initrd[0]
	e.Linux.Initrd = []object.Ref{p.file(t, "initrd2", []byte("new initrd"))}
	if res := p.publish(t); res.Added != 1 {
		t.Errorf("result %+v, want one object added", res)
	}
	if _, err := os.Stat(filepath.Join(p.options.Dir, old.Path())); err != nil {
		t.Errorf("old object: %v", err)
	}
	p.offers(t, 2)
}

func TestPublishRepairsObjects(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	kernel := filepath.Join(p.options.Dir, p.options.Entries["installer"].Linux.Kernel.Path())
	for name, damage := range map[string]func() error{
		"flipped": func() error { return os.WriteFile(kernel, bytes.Repeat([]byte("Kernel"), 100_000), 0o644) },
		"cut":     func() error { return os.Truncate(kernel, 7) },
		"removed": func() error { return os.Remove(kernel) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if res := p.publish(t); res.Added != 1 {
			t.Errorf("%s: result %+v, want one object added", name, res)
		}
	}
	p.offers(t, 4)
}

// TestClockWasAhead: keys and a manifest are of a clock that was a year ahead. By
// the right one publishing goes on, in versions and in dates, and says so.
func TestClockWasAhead(t *testing.T) {
	p := newProject(t)
	now := p.options.Now
	ahead := now.AddDate(1, 0, 0)
	p.options.Keys = p.keys(t, "keys2", "demo", ahead)
	p.options.Sign = p.options.Keys.Signer(p.secrets, nil, ahead)
	p.options.Now = ahead
	p.publish(t)
	p.options.Sign = p.options.Keys.Signer(p.secrets, nil, now)
	p.options.Now = now
	r := p.publish(t)
	if r.Version != 2 || !r.Issued.Equal(ahead) || !strings.Contains(r.Warning, "that becomes the date of this one") {
		t.Errorf("published %+v", r)
	}
}

// TestPublishRefuses: after each refusal the site is what it was.
func TestPublishRefuses(t *testing.T) {
	secret := []byte("-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("A", 64) + "\n-----END PRIVATE KEY-----\n")
	for name, c := range map[string]struct {
		class error
		says  string
		spoil func(t *testing.T, p *project, e *manifest.Entry)
	}{
		"wrong hash": {object.ErrMismatch, "kernel", func(t *testing.T, p *project, e *manifest.Entry) { p.other(e, func(r *object.Ref) { r.SHA256[0]++ }) }},
		"wrong size": {object.ErrMismatch, "kernel", func(t *testing.T, p *project, e *manifest.Entry) { p.other(e, func(r *object.Ref) { r.Size++ }) }},
		"no file": {fs.ErrNotExist, "kernel", func(t *testing.T, p *project, e *manifest.Entry) {
			p.options.Objects[p.other(e, func(r *object.Ref) { r.SHA256[0]++ })] += "-gone"
		}},
		"secret key": {leak.ErrSecret, "PRIVATE KEY", func(t *testing.T, p *project, e *manifest.Entry) { e.Linux.Kernel = p.file(t, "key", secret) }},
		"no source": {nil, "nothing says", func(t *testing.T, p *project, e *manifest.Entry) {
			delete(p.options.Objects, p.other(e, func(r *object.Ref) { r.SHA256[0]++ }))
		}},
		"bad cmdline": {manifest.ErrMalformed, "command line", func(t *testing.T, p *project, e *manifest.Entry) { e.Linux.Cmdline = "a\nb" }},
		"bad title":   {manifest.ErrMalformed, "title", func(t *testing.T, p *project, e *manifest.Entry) { e.Title = "" }},
		"bad default": {manifest.ErrMalformed, "no entry", func(t *testing.T, p *project, e *manifest.Entry) { p.options.Default = []string{"x"} }},
		"no validity": {manifest.ErrMalformed, "expiry", func(t *testing.T, p *project, e *manifest.Entry) { p.options.Valid = 0 }},
		"product":     {nil, "are for", func(t *testing.T, p *project, e *manifest.Entry) { p.options.Product = "other" }},
		"channel":     {ErrForeign, "channel", func(t *testing.T, p *project, e *manifest.Entry) { p.options.Channel = "beta" }},
		"clock ahead": {nil, "expired", func(t *testing.T, p *project, e *manifest.Entry) { p.options.Now = p.options.Now.AddDate(9, 0, 0) }},
		"no signature": {trust.ErrUntrusted, "not signed", func(t *testing.T, p *project, e *manifest.Entry) {
			p.options.Sign = func(trust.Purpose, []byte) ([]byte, error) { return nil, nil }
		}},
		"signer fails": {context.Canceled, "sign", func(t *testing.T, p *project, e *manifest.Entry) {
			p.options.Sign = func(trust.Purpose, []byte) ([]byte, error) { return nil, context.Canceled }
		}},
		"wrong purpose": {trust.ErrUntrusted, "refuse", func(t *testing.T, p *project, e *manifest.Entry) {
			sign := p.options.Sign
			p.options.Sign = func(_ trust.Purpose, d []byte) ([]byte, error) { return sign(trust.PurposeStatement, d) }
		}},
		"other keys": {ErrForeign, "is not what", func(t *testing.T, p *project, e *manifest.Entry) {
			p.options.Keys = p.keys(t, "keys2", "demo", p.options.Now)
			p.options.Sign = p.options.Keys.Signer(p.secrets, nil, p.options.Now)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.publish(t)
			before, good := p.snapshot(t), *p
			e := p.options.Entries["installer"]
			c.spoil(t, p, &e)
			p.options.Entries["installer"] = e
			_, err := Publish(t.Context(), p.options)
			if err == nil || c.class != nil && !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Publish = %v, want %v that says %q", err, c.class, c.says)
			}
			if after := p.snapshot(t); after != before {
				t.Errorf("the site has changed:\n%s\n%s", before, after)
			}
			p.options.Keys = good.options.Keys
			p.offers(t, 1)
		})
	}
}

// other makes the kernel's file be published as what it is not.
func (p *project) other(e *manifest.Entry, change func(*object.Ref)) object.Ref {
	path := p.options.Objects[e.Linux.Kernel]
	change(&e.Linux.Kernel)
	p.options.Objects[e.Linux.Kernel] = path
	return e.Linux.Kernel
}

// snapshot returns names and content of all files of the site.
func (p *project) snapshot(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(p.options.Dir), ".", func(name string, d fs.DirEntry, err error) error {
		b.WriteString(name + "\n")
		if err == nil && !d.IsDir() {
			b.WriteString(object.OfBytes(p.read(t, name)).String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPublishOverForeign: what cannot be verified is not written over.
func TestPublishOverForeign(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"unsigned": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "manifest.json.sig")), os.Remove(filepath.Join(dir, "../keys/published.json")))
		},
		"later statement": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "trust/2.json"), []byte("{}"), 0o644)
		},
		"edited": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{}"), 0o644)
		},
		"huge": func(dir string) error { return os.Truncate(filepath.Join(dir, "manifest.json"), 2<<20) },
		"other statement": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "trust/1.json"), []byte("{}"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.publish(t)
			if err := spoil(p.options.Dir); err != nil {
				t.Fatal(err)
			}
			before := p.snapshot(t)
			if _, err := Publish(t.Context(), p.options); !errors.Is(err, ErrForeign) {
				t.Errorf("Publish = %v, want ErrForeign", err)
			}
			if p.snapshot(t) != before {
				t.Error("the site has changed")
			}
		})
	}
}

func TestPublishOneAtATime(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	sign := p.options.Sign
	p.options.Sign = func(purpose trust.Purpose, data []byte) ([]byte, error) {
		if _, err := Publish(t.Context(), p.options); err == nil || !strings.Contains(err.Error(), "another publication") {
			t.Errorf("a second Publish: %v", err)
		}
		return sign(purpose, data)
	}
	p.publish(t)
	p.offers(t, 2)
}

func TestPublishCancelled(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	ctx, cancel := context.WithCancel(t.Context())
	sign := p.options.Sign
	p.options.Sign = func(purpose trust.Purpose, data []byte) ([]byte, error) { cancel(); return sign(purpose, data) }
	if _, err := Publish(ctx, p.options); !errors.Is(err, context.Canceled) {
		t.Errorf("Publish = %v, want context.Canceled", err)
	}
	p.offers(t, 1)
}

// TestFolders: none for a product that is not the keys', and web servers may
// enter every folder that was made, whatever the umask.
func TestFolders(t *testing.T) {
	p := newProject(t)
	out := filepath.Join(p.dir, "out")
	p.options.Dir = filepath.Join(out, "site")
	p.options.Product = "other"
	if _, err := Publish(t.Context(), p.options); err == nil {
		t.Error("published another product")
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made before the product was looked at: %v", err)
	}
	p.options.Product = ""
	defer syscall.Umask(syscall.Umask(0o077))
	p.publish(t)
	for _, dir := range []string{"", "site", "site/objects", "site/trust"} {
		if info, err := os.Stat(filepath.Join(out, dir)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
