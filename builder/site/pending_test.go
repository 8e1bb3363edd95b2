package site

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// newTwoPeople returns a project where two people hold one manifest key each,
// and both must sign. The desk has the first one's.
func newTwoPeople(t *testing.T) (p *project, other string) {
	t.Helper()
	p = newProject(t)
	other = filepath.Join(p.dir, "other")
	change := func(secrets []string, changes ...keys.Change) keys.Outcome {
		t.Helper()
		out, err := keys.Apply(keys.Options{Dir: p.options.Keys.Dir, Secrets: secrets, NewSecrets: secrets[0], Now: p.options.Now}, changes...)
		if err != nil || out.Pending {
			t.Fatalf("%+v, %v", out, err)
		}
		return out
	}
	change([]string{other, p.secrets}, keys.AddKey{Role: keys.RoleManifest})
	change([]string{p.secrets}, keys.SetThreshold{Role: keys.RoleManifest, Threshold: 2})
	set, err := keys.Load(p.options.Keys.Dir)
	if err != nil {
		t.Fatal(err)
	}
	p.options.Keys = set
	p.signWith(p.secrets)
	return p, other
}

// signWith has the keys in folders sign, and requests written for others.
func (p *project) signWith(secrets ...string) {
	p.options.Sign = p.options.Keys.SignWith(keys.SignOptions{
		Secrets: secrets, Now: p.options.Now, Pending: PendingDir(p.options.Dir),
	})
}

// request publishes, and returns what that leaves to be signed.
func (p *project) request(t *testing.T) string {
	t.Helper()
	if _, err := Publish(t.Context(), p.options); !errors.Is(err, keys.ErrPending) {
		t.Fatalf("Publish = %v, want ErrPending", err)
	}
	files, err := filepath.Glob(filepath.Join(PendingDir(p.options.Dir), "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("requests %v, %v", files, err)
	}
	return files[0]
}

// sign signs a request with the keys in secrets, and collects the signatures.
func (p *project) sign(t *testing.T, file, secrets string) {
	t.Helper()
	r, err := keys.ReadRequest(p.options.Keys, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, fpr := range r.Able {
		k, err := keys.ParseSigner(string(fpr), []string{secrets}, nil)
		if err != nil {
			continue // the other one's
		}
		if _, err := keys.SignRequest(r, k, p.options.Now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keys.Collect(p.options.Keys, p.options.Now, file); err != nil {
		t.Fatal(err)
	}
}

func (p *project) complete(t *testing.T, file string) (Result, error) {
	t.Helper()
	return Complete(t.Context(), CompleteOptions{Dir: p.options.Dir, Keys: p.options.Keys, File: file, Now: p.options.Now})
}

// TestTwoPeople: nothing is offered until both have signed, in whatever order,
// and nothing that waits is served.
func TestTwoPeople(t *testing.T) {
	p, other := newTwoPeople(t)
	file := p.request(t)
	for name := range p.list(t) {
		if !strings.HasPrefix(name, "objects/") {
			t.Errorf("%s is on the site", name)
		}
	}
	if again := p.request(t); again != file {
		t.Errorf("published again: %s, then %s", file, again)
	}
	if _, err := p.complete(t, file); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("completed with one signature: %v", err)
	}
	p.sign(t, file, other)
	res, err := p.complete(t, file)
	if err != nil || res.Version != 1 || len(res.Signers) != 2 || res.Objects != 2 {
		t.Fatalf("Complete = %+v, %v", res, err)
	}
	p.offers(t, 1)
	p.clean(t)
	if _, err := os.Lstat(PendingDir(p.options.Dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the request is still there: %v", err)
	}
	// Both at one desk need no request.
	p.signWith(other, p.secrets)
	if res := p.publish(t); res.Version != 2 || len(res.Signers) != 2 {
		t.Errorf("result %+v", res)
	}
}

// TestTwoPeopleTooLate: what was signed cannot be published over what came
// meanwhile, or once its objects, its time or its keys are gone.
func TestTwoPeopleTooLate(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, p *project, other string) error
		class     error
		says      string
	}{
		"published": {func(t *testing.T, p *project, other string) error {
			p.signWith(p.secrets, other)
			p.publish(t)
			return nil
		}, ErrStale, "publish once more"},
		"objects gone": {func(t *testing.T, p *project, other string) error {
			return os.RemoveAll(filepath.Join(p.options.Dir, "objects"))
		}, fs.ErrNotExist, "publish once more"},
		"expired": {func(t *testing.T, p *project, other string) error {
			p.options.Now = p.options.Now.Add(p.options.Valid + time.Minute)
			return nil
		}, nil, "expired"},
		"edited": {func(t *testing.T, p *project, other string) error {
			names, err := filepath.Glob(filepath.Join(PendingDir(p.options.Dir), "*.json"))
			if err != nil {
				return err
			}
			data, err := os.ReadFile(names[0])
			return errors.Join(err, os.WriteFile(names[0], append(data, ' '), 0o644))
		}, trust.ErrUntrusted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, other := newTwoPeople(t)
			file := p.request(t)
			p.sign(t, file, other)
			if err := c.meanwhile(t, p, other); err != nil {
				t.Fatal(err)
			}
			before := p.snapshot(t)
			_, err := p.complete(t, file)
			if err == nil || c.class != nil && !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Complete = %v, want %v that says %q", err, c.class, c.says)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the request is gone: %v", err)
			}
			if name != "objects gone" && p.snapshot(t) != before {
				t.Error("the site has changed")
			}
		})
	}
}
