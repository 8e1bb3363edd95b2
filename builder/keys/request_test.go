package keys

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// twoRoots makes keys of which two people hold one root key each, and both must
// sign. It returns the options of the first.
func twoRoots(t *testing.T) (InitOptions, Result, Options, string) {
	t.Helper()
	init := options(t)
	other := filepath.Join(filepath.Dir(init.Secrets), "other")
	init.StandbySecrets = other
	res, _ := initialise(t, init)
	o := ceremonies(init)
	o.Signers = []SigningKey{keyIn(t, res.Root, init.Secrets), keyIn(t, res.Standby, other)}
	apply(t, o, SetThreshold{Role: RoleRoot, Threshold: 2})
	o.Signers = nil
	return init, res, o, other
}

// sampleManifest returns the bytes of a manifest of the given version.
func sampleManifest(t *testing.T, set *Set, version int64) []byte {
	t.Helper()
	st := set.Store.Statement()
	data, err := manifest.Encode(&manifest.Manifest{
		Epoch: st.Epoch, Version: version, Product: st.Product, Arch: "amd64", Channel: "stable",
		Issued: time.Now(), Expires: time.Now().Add(24 * time.Hour),
		Entries: map[string]manifest.Entry{"rescue": {Title: "Rescue", Linux: &manifest.Linux{
			Kernel: object.OfBytes([]byte("kernel")), Cmdline: "quiet panic=10",
		}}},
		Default: []string{"rescue"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTwoPeople: what one person begins is pending until another has signed.
func TestTwoPeople(t *testing.T) {
	init, res, o, other := twoRoots(t)
	out, err := Apply(o, Rotate{Role: RoleManifest})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Pending || !slices.Equal(out.Signers, []trust.Fingerprint{res.Root}) || !slices.Equal(out.Missing, []trust.Fingerprint{res.Standby}) {
		t.Fatalf("outcome %+v", out)
	}
	if _, err := Apply(o, Renew{}); !errors.Is(err, ErrPending) || !strings.Contains(err.Error(), out.File) {
		t.Errorf("another statement 3: %v, want ErrPending and the file's name", err)
	}
	set, err := Load(o.Dir)
	if err != nil || set.Newest().Version != 2 {
		t.Fatalf("Load: %v", err)
	}
	got, err := Collect(set, o.Now)
	if err != nil || len(got) != 1 || got[0].Needed != 1 || got[0].Done != "" {
		t.Fatalf("collected too early: %+v, %v", got, err)
	}
	for _, text := range []string{"farboot keys sign trust-3.json", trust.Notation + "=trust-statement", string(res.Standby), "comes", "leaves"} {
		if data, err := os.ReadFile(out.File + ".txt"); err != nil || !strings.Contains(string(data), text) {
			t.Errorf("the text beside the request does not say %q: %v\n%s", text, err, data)
		}
	}
	// The other person has the folder, and the one key.
	r, err := ReadRequest(set, out.File)
	if err != nil || len(r.Summary) != 3 || len(r.Able) != 2 {
		t.Fatalf("request %+v, %v", r, err)
	}
	k, err := ParseSigner(string(res.Standby), []string{other}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SignRequest(r, k, time.Now()); err != nil {
		t.Fatal(err)
	}
	junk := out.File + "." + strings.Repeat("0", 40) + ".sig"
	if err := os.WriteFile(junk, []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err = Collect(set, o.Now)
	if err != nil || len(got) != 1 || got[0].Needed != 0 || got[0].Done != filepath.Join(o.Dir, "trust/3.json") {
		t.Fatalf("collected %+v, %v", got, err)
	}
	if len(got[0].Refused) != 1 || !strings.Contains(got[0].Refused[0], junk) {
		t.Errorf("refused %q, want the junk by name", got[0].Refused)
	}
	if set, err = Load(o.Dir); err != nil || set.Newest().Version != 3 || exists(set.Pending()) {
		t.Fatalf("Load: %v", err)
	}
	if !signs(t, set, init.Secrets, out.Made[0].Fingerprint) {
		t.Error("the new key does not sign")
	}
	follow(t, set)
}

// TestWrongSignatures are those that somebody could leave beside a request.
func TestWrongSignatures(t *testing.T) {
	init, res, o, other := twoRoots(t)
	out, err := Apply(o, Revoke{Fingerprint: res.Manifest, Reason: "stolen", Replace: true})
	if err != nil || !out.Pending {
		t.Fatalf("%+v, %v", out, err)
	}
	data, err := os.ReadFile(out.File)
	if err != nil {
		t.Fatal(err)
	}
	key := func(fpr trust.Fingerprint, dir string) SigningKey {
		k, err := ParseSigner(string(fpr), []string{dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sig := func(k SigningKey, p trust.Purpose, data []byte) []byte {
		s, err := k.Sign(p, data, o.Now)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	good := sig(key(res.Standby, other), trust.PurposeStatement, data)
	name := signatureName(out.File, res.Standby)
	for what, c := range map[string]struct {
		sig  []byte
		says string
	}{
		"other purpose": {sig(key(res.Standby, other), trust.PurposeManifest, data), "another purpose"},
		"other bytes":   {sig(key(res.Standby, other), trust.PurposeStatement, append(data, ' ')), "bad"},
		"other role":    {sig(key(out.Made[0].Fingerprint, init.Secrets), trust.PurposeStatement, data), "unknown key"},
		"revoked key":   {sig(key(res.Manifest, init.Secrets), trust.PurposeStatement, data), "revoked since"},
		"empty":         {nil, "empty"},
		"armored":       {[]byte("-----BEGIN PGP SIGNATURE-----\n"), "armored"},
		"large":         {make([]byte, 1<<20), "at most"},
		"trailing":      {append(slices.Clone(good), 0), "OpenPGP"},
	} {
		if err := os.WriteFile(name, c.sig, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Collect(set, o.Now, out.File)
		if err != nil || len(got) != 1 || got[0].Done != "" || got[0].Needed != 1 {
			t.Fatalf("%s: %+v, %v", what, got, err)
		}
		if len(got[0].Refused) != 1 || !strings.Contains(got[0].Refused[0], name) || !strings.Contains(got[0].Refused[0], c.says) {
			t.Errorf("%s: refused %q, want the name and %q", what, got[0].Refused, c.says)
		}
	}
	// The same key twice is one; a signature from another folder is as good.
	if err := os.WriteFile(name, sig(key(res.Root, init.Secrets), trust.PurposeStatement, data), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Collect(set, o.Now); err != nil || got[0].Needed != 1 || len(got[0].Refused) != 0 {
		t.Errorf("one key twice: %+v, %v", got, err)
	}
	mailed := filepath.Join(t.TempDir(), "mailed.sig")
	if err := os.WriteFile(mailed, good, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Collect(set, o.Now, mailed)
	if err != nil || len(got) != 1 || got[0].Done == "" {
		t.Fatalf("collected %+v, %v", got, err)
	}
}

// TestRevokedKeySigns: the thief of a root key signs the statement that revokes
// it, and counts for nothing.
func TestRevokedKeySigns(t *testing.T) {
	init := options(t)
	vault := filepath.Join(filepath.Dir(init.Secrets), "vault")
	init.StandbySecrets = vault
	res, _ := initialise(t, init)
	o := ceremonies(init)
	out, err := Apply(o, Revoke{Fingerprint: res.Root, Reason: "stolen", Replace: true})
	if err != nil || !out.Pending || !slices.Equal(out.Missing, []trust.Fingerprint{res.Standby}) {
		t.Fatalf("%+v, %v", out, err)
	}
	set, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadRequest(set, out.File)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseSigner(string(res.Root), o.Secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SignRequest(r, k, o.Now); err == nil {
		t.Error("SignRequest signs with a key that the statement revokes")
	}
	if r, err = ReadRequest(nil, out.File); err != nil {
		t.Fatal(err)
	}
	name, err := SignRequest(r, k, o.Now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Collect(set, o.Now)
	if err != nil || got[0].Needed != 1 || len(got[0].Refused) != 1 || !strings.Contains(got[0].Refused[0], name) {
		t.Errorf("collected %+v, %v", got, err)
	}
}

// TestManifestByTwo: what publishing leaves, two people sign.
func TestManifestByTwo(t *testing.T) {
	init := options(t)
	initialise(t, init)
	o := ceremonies(init)
	desk := filepath.Join(filepath.Dir(init.Secrets), "desk")
	o.NewSecrets = desk
	out, set := apply(t, o, AddKey{Role: RoleManifest}, SetThreshold{Role: RoleManifest, Threshold: 2})
	data := sampleManifest(t, set, 1)
	first := SignOptions{Secrets: []string{desk}, Now: o.Now, Pending: set.Pending()}
	for range 2 { // publishing once more changes nothing
		if sig, err := set.SignWith(first)(trust.PurposeManifest, data); !errors.Is(err, ErrPending) || sig != nil {
			t.Fatalf("SignWith = %v, want ErrPending", err)
		}
	}
	file := filepath.Join(set.Pending(), "manifest-amd64-stable-1.1.json")
	r, err := ReadRequest(set, file)
	if err != nil || r.Purpose != trust.PurposeManifest {
		t.Fatalf("%+v, %v", r, err)
	}
	if text := strings.Join(r.Summary, "\n"); !strings.Contains(text, "version 1 of epoch 1") || !strings.Contains(text, "quiet panic=10") {
		t.Errorf("summary:\n%s", text)
	}
	other := data[:len(data)-1]
	if _, err := set.Request(set.Pending(), trust.PurposeManifest, other); err == nil {
		t.Error("a request was replaced by other bytes")
	}
	k, err := ParseSigner("file:"+secretName(init.Secrets, set.Store.Statement().Roles.Manifest.Keys[0]), nil, nil)
	if err != nil {
		k, err = ParseSigner("file:"+secretName(init.Secrets, set.Store.Statement().Roles.Manifest.Keys[1]), nil, nil)
	}
	if err != nil || k.Fingerprint == out.Made[0].Fingerprint {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, err := SignRequest(r, k, o.Now); err != nil {
		t.Fatal(err)
	}
	got, err := Collect(set, o.Now)
	if err != nil || len(got) != 1 || got[0].Done != file+".sig" {
		t.Fatalf("collected %+v, %v", got, err)
	}
	sigs, err := os.ReadFile(got[0].Done)
	if err != nil {
		t.Fatal(err)
	}
	v, err := set.Store.Open(trust.PurposeManifest, data, sigs, o.Now)
	if err != nil || len(v.Signers()) != 2 {
		t.Errorf("signers %v, %v", v.Signers(), err)
	}
	if err := Discard(file); err != nil || exists(set.Pending()) {
		t.Errorf("Discard: %v", err)
	}
}

// TestReadRequestRefuses what nobody should be asked to sign.
func TestReadRequestRefuses(t *testing.T) {
	init := options(t)
	_, set := initialise(t, init)
	st := set.Store.Statement()
	st.Version = 3
	skipped, err := trust.EncodeStatement(st)
	if err != nil {
		t.Fatal(err)
	}
	st.Version, st.Product = 2, "others"
	foreign, err := trust.EncodeStatement(st)
	if err != nil {
		t.Fatal(err)
	}
	data := sampleManifest(t, set, 1)
	for name, c := range map[string]struct{ data, says string }{
		"text":              {"I owe you", "neither"},
		"empty":             {"", "neither"},
		"skipped statement": {string(skipped), "next one here is 2"},
		"other product":     {string(foreign), `of "others"`},
		"other layout":      {strings.Replace(string(foreign), "  ", "   ", 1), "as farboot writes it"},
		"other epoch":       {strings.Replace(string(data), `"epoch": 1`, `"epoch": 2`, 1), "epoch 2"},
		"manifest for all":  {strings.Replace(string(data), `"demo"`, `"others"`, 1), `"others"`},
	} {
		file := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(file, []byte(c.data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRequest(set, file); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		got, err := Collect(set, init.Now, file)
		if err != nil || len(got) != 1 || got[0].Done != "" || len(got[0].Refused) != 1 {
			t.Errorf("%s: collected %+v, %v", name, got, err)
		}
	}
}

// TestAtHand: with nothing but the file and a folder of secret keys, those sign
// that call themselves keys of that role and product; a standby key is named and
// waits.
func TestAtHand(t *testing.T) {
	t.Setenv("GNUPGHOME", filepath.Join(t.TempDir(), "none"))
	init := options(t)
	res, set := initialise(t, init)
	o := ceremonies(init)
	o.Secrets = []string{t.TempDir()}
	out, err := Apply(o, Renew{})
	if err != nil || !out.Pending {
		t.Fatalf("%+v, %v", out, err)
	}
	manifest := filepath.Join(t.TempDir(), "m.json")
	if err := os.WriteFile(manifest, sampleManifest(t, set, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		set     *Set
		file    string
		signer  trust.Fingerprint
		standby []trust.Fingerprint
	}{
		{set, out.File, res.Root, []trust.Fingerprint{res.Standby}},
		{nil, out.File, res.Root, []trust.Fingerprint{res.Standby}},
		{set, manifest, res.Manifest, nil},
		{nil, manifest, res.Manifest, nil},
	} {
		r, err := ReadRequest(c.set, c.file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.AtHand([]string{init.Secrets, "none"})
		if err != nil || len(h.Signers) != 1 || !strings.Contains(h.Signers[0], string(c.signer)) || !slices.Equal(h.Standby, c.standby) {
			t.Errorf("%s, with keys %v: %+v, %v, want %s", c.file, c.set != nil, h, err, c.signer)
		}
	}
	other := strings.Replace(string(sampleManifest(t, set, 1)), `"demo"`, `"others"`, 1)
	if err := os.WriteFile(manifest, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRequest(nil, manifest); err != nil {
		t.Error(err)
	} else if h, err := r.AtHand([]string{init.Secrets}); err != nil || len(h.Signers) != 0 {
		t.Errorf("another product: %+v, %v", h, err)
	}
}
