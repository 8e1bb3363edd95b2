package keys

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// ceremonies returns the options for changes to the keys that Init made.
func ceremonies(o InitOptions) Options {
	return Options{Dir: o.Dir, Project: o.Project, Secrets: []string{o.Secrets}, NewSecrets: o.Secrets, StandbySecrets: o.StandbySecrets, Now: o.Now}
}

// keyIn finds a key file.
func keyIn(t *testing.T, fpr trust.Fingerprint, dir string) SigningKey {
	t.Helper()
	k, err := ParseSigner(string(fpr), []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// apply makes a statement that comes into force, and loads it.
func apply(t *testing.T, o Options, changes ...Change) (Outcome, *Set) {
	t.Helper()
	out, err := Apply(o, changes...)
	if err != nil {
		t.Fatal(err)
	}
	if out.Pending {
		t.Fatalf("pending: %+v", out)
	}
	set, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if set.Newest().Version != out.Version || set.Unfinished || out.File != filepath.Join(o.Dir, set.Newest().Path()) {
		t.Errorf("outcome %+v, newest is %d", out, set.Newest().Version)
	}
	return out, set
}

// signs tells whether a key's signature makes a manifest that the set accepts.
func signs(t *testing.T, set *Set, secrets string, fpr trust.Fingerprint) bool {
	t.Helper()
	k, err := ParseSigner(string(fpr), []string{secrets}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.Sign(trust.PurposeManifest, []byte("manifest"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, err = set.Store.Open(trust.PurposeManifest, []byte("manifest"), sig, time.Now())
	return err == nil
}

// TestCeremonies is a life of keys. After each step media of all statements can
// follow, which Load checks, and the folder holds no more than it should.
func TestCeremonies(t *testing.T) {
	init := options(t)
	init.StandbySecrets = filepath.Join(filepath.Dir(init.Secrets), "vault")
	res, _ := initialise(t, init)
	o := ceremonies(init)

	out, set := apply(t, o, Rotate{Role: RoleManifest})
	second := out.Made[0].Fingerprint
	if signs(t, set, init.Secrets, res.Manifest) || !signs(t, set, init.Secrets, second) {
		t.Error("rotate manifest: the old key still signs, or the new one does not")
	}
	if !slices.Equal(out.Signers, []trust.Fingerprint{res.Root}) || out.Epoch != 1 || !exists(out.Made[0].Secret) {
		t.Errorf("rotate manifest: %+v", out)
	}

	out, set = apply(t, o, Rotate{Role: RoleManifest, KeepOld: true})
	third := out.Made[0].Fingerprint
	if !signs(t, set, init.Secrets, second) || !signs(t, set, init.Secrets, third) {
		t.Error("rotate --keep-old: not both keys sign")
	}
	_, set = apply(t, o, Retire{Fingerprint: second})
	if signs(t, set, init.Secrets, second) || !signs(t, set, init.Secrets, third) {
		t.Error("retire: the wrong key signs")
	}

	out, _ = apply(t, o, Rotate{Role: RoleRoot})
	root2 := out.Made[0].Fingerprint
	if !slices.Contains(out.Signers, res.Root) || !slices.Contains(out.Signers, root2) || len(out.Signers) != 2 {
		t.Errorf("rotate root: signed by %v, want the old and the new root key", out.Signers)
	}

	out, set = apply(t, o, Revoke{Fingerprint: third, Reason: "stolen", Replace: true})
	if out.Epoch != 2 || signs(t, set, init.Secrets, third) || !signs(t, set, init.Secrets, out.Made[0].Fingerprint) {
		t.Errorf("revoke: %+v", out)
	}
	if r := set.Store.Statement().Revoked.Keys; len(r) != 1 || r[0].Fingerprint != third || r[0].Reason != "stolen" {
		t.Errorf("revoked %+v", r)
	}

	_, set = apply(t, o, AddKey{Role: RoleManifest}, SetThreshold{Role: RoleManifest, Threshold: 2})
	if r := set.Store.Statement().Roles.Manifest; r.Threshold != 2 || len(r.Keys) != 2 {
		t.Errorf("threshold: %+v", r)
	}
	kernel := object.OfBytes([]byte("kernel with a hole")).SHA256
	_, set = apply(t, o, RevokeObject{SHA256: kernel, Reason: "CVE-2026-0001"})
	if _, revoked := set.Store.Revokes(kernel); !revoked {
		t.Error("the object is not revoked")
	}
	_, set = apply(t, o, Renew{})
	if set.Newest().Version != 9 || len(set.Chain) != 9 {
		t.Errorf("version %d, %d statements", set.Newest().Version, len(set.Chain))
	}
	names, err := publicFiles(o.Dir)
	if err != nil || len(names) != 4 || exists(filepath.Join(o.Dir, unfinished)) || exists(set.Pending()) {
		t.Errorf("public files %v, %v", names, err)
	}
	follow(t, set)
}

// follow walks media of each statement to the newest.
func follow(t *testing.T, set *Set) {
	t.Helper()
	for i, doc := range set.Chain {
		store, err := trust.Anchor(doc.Statement, doc.Signature)
		if err != nil {
			t.Fatal(err)
		}
		for _, next := range set.Chain[i+1:] {
			if store, err = store.Advance(next.Statement, next.Signature); err != nil {
				t.Fatalf("a medium with statement %d: %v", doc.Version, err)
			}
		}
	}
}

// TestClockWasAhead: keys and a statement were made by a clock that was a year
// ahead. By the right clock the chain goes on, dated as it is, and says so.
func TestClockWasAhead(t *testing.T) {
	init := options(t)
	now := init.Now
	init.Now = now.AddDate(1, 0, 0)
	initialise(t, init)
	o := ceremonies(init)
	o.Now = now
	for _, c := range []Change{Rotate{Role: RoleManifest}, Rotate{Role: RoleRoot}, Renew{}} {
		out, set := apply(t, o, c)
		if !strings.Contains(out.Warning, "that becomes the date of this one") || !set.Store.Statement().Issued.Equal(init.Now) {
			t.Errorf("issued %s, warning %q", set.Store.Statement().Issued, out.Warning)
		}
		follow(t, set)
	}
	o.Now = init.Now.AddDate(0, 0, 1)
	if out, _ := apply(t, o, Renew{}); out.Warning != "" {
		t.Errorf("warning by a later clock: %q", out.Warning)
	}
}

// TestStandbyTakesOver is the worst day: the root key is stolen, and the thief
// is fast.
func TestStandbyTakesOver(t *testing.T) {
	init := options(t)
	vault := filepath.Join(filepath.Dir(init.Secrets), "vault")
	init.StandbySecrets = vault
	res, _ := initialise(t, init)
	o := ceremonies(init)
	thief, err := ParseSigner(string(res.Root), o.Secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Secrets = append(o.Secrets, vault)
	revoke := Revoke{Fingerprint: res.Root, Reason: "stolen", Replace: true}
	var standby *StandbyError
	if out, err := Apply(o, revoke); !errors.As(err, &standby) || standby.Fingerprint != res.Standby || exists(filepath.Join(o.Dir, PendingDir)) {
		t.Fatalf("a standby key that nobody named: %+v, %v", out, err)
	}
	o.Signers = []SigningKey{keyIn(t, res.Standby, vault)}
	out, set := apply(t, o, revoke)
	if !slices.Contains(out.Signers, res.Standby) || slices.Contains(out.Signers, res.Root) {
		t.Errorf("signed by %v, want the standby key and not the stolen one", out.Signers)
	}
	if len(out.Made) != 1 || out.Made[0].Standby || filepath.Dir(out.Made[0].Secret) != init.Secrets || out.Epoch != 1 {
		t.Errorf("outcome %+v", out)
	}
	forged := set.Store.Statement()
	forged.Version, forged.Revoked = 3, trust.Revoked{Keys: forged.Revoked.Keys}
	data, err := trust.EncodeStatement(forged)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := thief.Sign(trust.PurposeStatement, data, o.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Store.Advance(data, sig); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("the thief's statement 3: %v, want ErrUntrusted", err)
	}
	// A standby key that was used is replaced by one that never left its vault.
	o.Signers = nil
	out, set = apply(t, o, Rotate{Role: RoleRoot, Old: res.Standby})
	if len(out.Made) != 1 || !out.Made[0].Standby || filepath.Dir(out.Made[0].Secret) != vault {
		t.Errorf("outcome %+v", out)
	}
	follow(t, set)
}

// TestStandbyWaits: as long as the root key can sign, the standby key does not.
func TestStandbyWaits(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	for _, change := range []Change{Renew{}, Rotate{Role: RoleManifest}, Rotate{Role: RoleRoot}} {
		if out, _ := apply(t, ceremonies(init), change); slices.Contains(out.Signers, res.Standby) {
			t.Errorf("%T: the standby key signed", change)
		}
	}
}

func TestCeremonyRefusals(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	stranger := trust.Fingerprint(strings.Repeat("A", 40))
	secret := filepath.Join(t.TempDir(), "key.asc")
	data, err := os.ReadFile(res.Secret[0])
	if err == nil {
		err = os.WriteFile(secret, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, filepath.Dir(init.Project))
	for name, c := range map[string]struct {
		changes []Change
		is      error
		says    string
	}{
		"last manifest key":   {[]Change{Revoke{Fingerprint: res.Manifest, Reason: "lost"}}, ErrTooFewKeys, "1 must sign, but manifest would have 0 keys"},
		"retired last key":    {[]Change{Retire{Fingerprint: res.Manifest}}, ErrTooFewKeys, "manifest would have 0 keys"},
		"threshold too high":  {[]Change{SetThreshold{RoleManifest, 2}}, ErrTooFewKeys, "2 must sign, but manifest would have 1 key"},
		"threshold zero":      {[]Change{SetThreshold{RoleManifest, 0}}, nil, "want at least 1"},
		"same threshold":      {[]Change{SetThreshold{RoleManifest, 1}}, ErrNoChange, "says so already"},
		"no change":           {nil, ErrNoChange, "says so already"},
		"unknown key":         {[]Change{Revoke{Fingerprint: stranger, Reason: "stolen"}}, nil, "no trust statement lists it"},
		"retire unknown key":  {[]Change{Retire{Fingerprint: stranger}}, nil, "does not list it"},
		"no reason":           {[]Change{Revoke{Fingerprint: res.Manifest, Replace: true}}, trust.ErrMalformed, "reason is missing"},
		"control characters":  {[]Change{Revoke{Fingerprint: res.Manifest, Replace: true, Reason: "\x1b[2J"}}, trust.ErrMalformed, "not printable"},
		"old key of the role": {[]Change{Rotate{Role: RoleRoot, Old: res.Manifest}}, nil, "does not have the role root"},
		"secret key as new":   {[]Change{Rotate{Role: RoleRoot, NewKey: secret}}, nil, "SECRET"},
		"no key file":         {[]Change{AddKey{Role: RoleRoot, File: secret + "x"}}, os.ErrNotExist, "no such file"},
		"same key again":      {[]Change{AddKey{Role: RoleManifest, File: res.Public[1]}}, nil, "has the role manifest already"},
		"standby manifest":    {[]Change{AddKey{Role: RoleManifest, Standby: true}}, nil, "role root"},
		"all root keys revoked": {[]Change{Revoke{Fingerprint: res.Root, Reason: "stolen", Replace: true},
			Revoke{Fingerprint: res.Standby, Reason: "stolen", Replace: true}}, ErrUnreachable, "root keys must sign"},
	} {
		out, err := Apply(ceremonies(init), c.changes...)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %+v, %v, want %q", name, out, err, c.says)
		}
	}
	for name, spoil := range map[string]func(o *Options){
		"new secrets in the project":     func(o *Options) { o.Secrets = []string{filepath.Join(o.Project, "secret")} },
		"standby in the keys":            func(o *Options) { o.StandbySecrets = filepath.Join(o.Dir, "vault") },
		"second folder in the project":   func(o *Options) { o.Secrets = append(o.Secrets, o.Project) },
		"a signer that is no root key":   func(o *Options) { o.Signers = []SigningKey{{Fingerprint: stranger}} },
		"a signer without a signing key": func(o *Options) { o.Signers = []SigningKey{{Fingerprint: res.Root}} },
	} {
		o := ceremonies(init)
		spoil(&o)
		if _, err := Apply(o, Rotate{Role: RoleManifest}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if after := files(t, filepath.Dir(init.Project)); len(after) != len(before) {
		t.Errorf("refused changes left something: %d files, before %d", len(after), len(before))
	}
	if _, err := Apply(Options{Dir: filepath.Join(t.TempDir(), "none"), Secrets: []string{init.Secrets}}, Renew{}); !errors.Is(err, ErrMissing) {
		t.Errorf("no keys: %v, want ErrMissing", err)
	}
}

// TestRevokedInHistory: a key that left long ago is found in a thief's drawer.
// Machines that were asleep since may have seen what he signed.
func TestRevokedInHistory(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	o := ceremonies(init)
	apply(t, o, Rotate{Role: RoleManifest})
	out, set := apply(t, o, Revoke{Fingerprint: res.Manifest, Reason: "stolen"})
	if out.Epoch != 2 || len(set.Store.Statement().Revoked.Keys) != 1 {
		t.Errorf("outcome %+v", out)
	}
	if _, err := Apply(o, Revoke{Fingerprint: res.Manifest, Reason: "stolen"}); !errors.Is(err, ErrNoChange) {
		t.Errorf("revoked twice: %v, want ErrNoChange", err)
	}
}

// TestCeremonyPassphrases: keys are asked for only where they sign, new ones
// are locked where asked for, and a wrong answer writes nothing.
func TestCeremonyPassphrases(t *testing.T) {
	init := options(t)
	init.Passphrase = func(string) ([]byte, error) { return []byte("first"), nil }
	initialise(t, init)
	before := files(t, filepath.Dir(init.Project))
	o := ceremonies(init)
	o.Passphrase = func(string) ([]byte, error) { return []byte("wrong"), nil }
	if _, err := Apply(o, Rotate{Role: RoleManifest}); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("wrong passphrase: %v", err)
	}
	o.NewPassphrase = func(string) ([]byte, error) { return nil, nil }
	if _, err := Apply(o, Rotate{Role: RoleManifest}); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("empty passphrase: %v", err)
	}
	if after := files(t, filepath.Dir(init.Project)); len(after) != len(before) {
		t.Error("a wrong passphrase left something behind")
	}
	var asked []string
	o.Passphrase = func(prompt string) ([]byte, error) { asked = append(asked, prompt); return []byte("first"), nil }
	o.NewPassphrase = func(string) ([]byte, error) { return []byte("second"), nil }
	out, set := apply(t, o, Rotate{Role: RoleManifest})
	if len(asked) != 1 || !strings.Contains(asked[0], string(out.Signers[0])) {
		t.Errorf("asked %q, want once, for the root key", asked)
	}
	give := func(string) ([]byte, error) { return []byte("second"), nil }
	if _, err := set.Signer(init.Secrets, give, o.Now)(trust.PurposeManifest, []byte("m")); err != nil {
		t.Error(err)
	}
	if _, err := set.Signer(init.Secrets, nil, o.Now)(trust.PurposeManifest, []byte("m")); err == nil {
		t.Error("the new key is not locked")
	}
}

// TestPlaceOfNewKeys: beside the key that is replaced, or where nobody keeps root
// keys.
func TestPlaceOfNewKeys(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	usual := filepath.Join(config, "farboot", "secret")
	init := options(t)
	res, _ := initialise(t, init)
	vault := filepath.Join(filepath.Dir(init.Secrets), "vault")
	if err := os.Mkdir(vault, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(secretName(init.Secrets, res.Root), secretName(vault, res.Root)); err != nil {
		t.Fatal(err)
	}
	o := ceremonies(init)
	o.NewSecrets, o.StandbySecrets = "", ""
	for _, c := range []struct {
		secrets []string
		change  Change
		want    string
	}{
		{[]string{vault}, Rotate{Role: RoleManifest}, usual},
		{[]string{vault, usual}, Rotate{Role: RoleManifest}, usual},
		{[]string{usual, vault}, Rotate{Role: RoleRoot}, vault},
		{[]string{vault, init.Secrets}, Rotate{Role: RoleRoot, Old: res.Standby}, init.Secrets},
		{[]string{vault}, AddKey{Role: RoleManifest}, usual},
	} {
		o.Secrets = c.secrets
		out, _ := apply(t, o, c.change)
		if len(out.Made) != 1 || filepath.Dir(out.Made[0].Secret) != c.want {
			t.Errorf("%+v with %v: %+v, want it in %s", c.change, c.secrets, out.Made, c.want)
		}
	}
}

// TestNamedSignersAlone: a key that is named signs, and none beside it.
func TestNamedSignersAlone(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	o := ceremonies(init)
	o.Signers = []SigningKey{keyIn(t, res.Standby, init.Secrets)}
	if out, _ := apply(t, o, Renew{}); !slices.Equal(out.Signers, []trust.Fingerprint{res.Standby}) {
		t.Errorf("signed by %v, want the standby key alone", out.Signers)
	}
	o.Signers = nil
	_, set := apply(t, o, AddKey{Role: RoleManifest})
	sigs, err := set.SignWith(SignOptions{Signers: []SigningKey{keyIn(t, res.Manifest, init.Secrets)}, Secrets: o.Secrets, Now: o.Now})(trust.PurposeManifest, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := set.Store.Open(trust.PurposeManifest, []byte("m"), sigs, o.Now); err != nil || !slices.Equal(v.Signers(), []trust.Fingerprint{res.Manifest}) {
		t.Errorf("signed by %v, %v, want %s alone", v.Signers(), err, res.Manifest)
	}
}
