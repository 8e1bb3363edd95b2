package site

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// newRotating returns a project whose keys are those of a simulator. What is
// newest changes with take.
func newRotating(t *testing.T) (*project, *trusttest.Sim) {
	t.Helper()
	p := newProject(t)
	p.options.Now = p.options.Now.Add(-time.Minute) // gpg knows no keys of the next second
	sim := trusttest.NewSim(t, "demo", p.options.Now.Add(-time.Hour))
	p.options.Keys = &keys.Set{Dir: filepath.Join(p.dir, "sim")}
	if err := os.Mkdir(p.options.Keys.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.take(t, sim)
	return p, sim
}

// take makes the newest statement of sim that of the project, a second later.
func (p *project) take(t *testing.T, sim *trusttest.Sim) {
	t.Helper()
	p.options.Now = p.options.Now.Add(time.Second)
	sim.At = p.options.Now
	set := &keys.Set{Dir: p.options.Keys.Dir}
	for n := int64(1); n <= sim.Statement().Version; n++ {
		doc := keys.Document{Version: n}
		doc.Statement, doc.Signature = sim.Files()[doc.Path()], sim.Files()[doc.Path()+".sig"]
		set.Chain = append(set.Chain, doc)
	}
	set.Store = sim.Store(sim.Statement().Version)
	p.options.Keys = set
	p.options.Sign = func(_ trust.Purpose, data []byte) ([]byte, error) { return sim.SignManifest(data), nil }
}

// prepare runs a publication up to the point where it would change what the
// site offers.
func (p *project) prepare(t *testing.T) (run *publication, steps []func() error) {
	t.Helper()
	run = &publication{PublishOptions: p.options}
	ctx := t.Context()
	_, err := run.run(ctx, run.begin, run.describe, run.revoked,
		func() error { return run.sign(ctx) }, func() error { return run.objects(ctx) }, run.carry)
	if err != nil {
		t.Fatal(err)
	}
	if steps, err = run.swap(); err != nil {
		t.Fatal(err)
	}
	return run, steps
}

// TestSwap: between all steps of a replacement, and when one is the last, the
// site is whole for media of every statement, and the next publication goes on
// from it. In a new epoch, machines refuse the site between two renames, and
// never believe what they should not.
func TestSwap(t *testing.T) {
	for name, c := range map[string]struct {
		rotate func(p *project, sim *trusttest.Sim)
		gap    bool
	}{
		"same keys":             {func(*project, *trusttest.Sim) {}, false},
		"manifest key replaced": {func(_ *project, sim *trusttest.Sim) { sim.Rotate(trusttest.Manifest) }, false},
		"root key replaced":     {func(_ *project, sim *trusttest.Sim) { sim.Rotate(trusttest.Root) }, false},
		"twice, and root": {func(_ *project, sim *trusttest.Sim) {
			sim.Rotate(trusttest.Manifest)
			sim.Rotate(trusttest.Root)
			sim.Rotate(trusttest.Manifest)
		}, false},
		"threshold raised":     {func(_ *project, sim *trusttest.Sim) { sim.Threshold(trusttest.Manifest, 2) }, false},
		"manifest key revoked": {func(_ *project, sim *trusttest.Sim) { sim.Revoke(sim.Manifest) }, true},
		"replaced, and nothing noted": {func(p *project, sim *trusttest.Sim) {
			sim.Rotate(trusttest.Manifest)
			os.Remove(filepath.Join(p.options.Keys.Dir, keys.PublishedFile))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for stop, count := 0, 1; stop <= count; stop++ {
				p, sim := newRotating(t)
				p.publish(t)
				c.rotate(p, sim)
				old := p.options.Keys
				p.take(t, sim)
				run, steps := p.prepare(t)
				count = len(steps)
				for _, step := range steps[:stop] {
					if err := step(); err != nil {
						t.Fatal(err)
					}
				}
				// A medium may be built with a new statement before that is
				// published; the newest one is good from the first step on.
				newest := len(p.options.Keys.Chain)
				for n := 1; n <= newest; n++ {
					a, err := asMedium(t.Context(), sim.Store(int64(n)), p.terms(), Files(p.options.Dir), p.options.Now)
					early := n > len(old.Chain) && (n < newest || stop == 0)
					refused := errors.Is(err, trust.ErrUntrusted) || errors.Is(err, accept.ErrRollback)
					if err != nil && !(refused && (early || c.gap)) {
						t.Errorf("after %d of %d steps, statement %d: %v", stop, count, n, err)
					}
					if err == nil && a.Manifest.Epoch == 1 && a.Manifest.Version > 1 != bytes.Equal(run.data, p.read(t, manifest.File)) {
						t.Errorf("after %d steps: version %d", stop, a.Manifest.Version)
					}
				}
				p.options.Now = p.options.Now.Add(time.Second)
				res := p.publish(t)
				if res.Epoch != sim.Statement().Epoch {
					t.Errorf("epoch %d", res.Epoch)
				}
				p.offers(t, res.Version)
				if stop == count-1 {
					p.clean(t)
				}
			}
		})
	}
}

// clean fails unless the manifest's signature file holds nothing but good
// signatures, by gpg's judgement, too.
func (p *project) clean(t *testing.T) {
	t.Helper()
	home := gpgHome(t)
	for _, k := range p.options.Keys.Store.Statement().Keys {
		name := filepath.Join(home, "key")
		if err := os.WriteFile(name, k.Key, 0o600); err != nil {
			t.Fatal(err)
		}
		gpg(t, home, "--import", name)
	}
	out := gpg(t, home, "--verify", filepath.Join(p.options.Dir, manifest.Signature), filepath.Join(p.options.Dir, manifest.File))
	if n := strings.Count(out, "Good signature"); n != p.options.Keys.Store.Statement().Roles.Manifest.Threshold || strings.Contains(out, "BAD") {
		t.Errorf("gpg --verify:\n%s", out)
	}
}

// gpgHome returns a folder for gpg; its name is short, for gpg-agent's socket.
func gpgHome(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing: apt-get install gnupg")
	}
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() //nolint:errcheck // there may be none
		os.RemoveAll(home)
	})
	return home
}

// gpg runs gpg and returns both outputs.
func gpg(t *testing.T, home string, args ...string) string {
	t.Helper()
	out, err := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-tty"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("gpg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
