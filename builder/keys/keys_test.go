package keys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/trust"
)

// options returns those of a project of its own, with secrets beside it.
func options(t *testing.T) InitOptions {
	t.Helper()
	home := t.TempDir()
	project := filepath.Join(home, "project")
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	return InitOptions{
		Dir: filepath.Join(project, "keys"), Project: project, Secrets: filepath.Join(home, "config", "secret"),
		Product: "demo", Now: time.Now().Truncate(time.Second),
	}
}

// initialise makes keys and loads them.
func initialise(t *testing.T, o InitOptions) (Result, *Set) {
	t.Helper()
	res, err := Init(o)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return res, set
}

func TestInit(t *testing.T) {
	o := options(t)
	res, set := initialise(t, o)
	st := set.Store.Statement()
	if st.Version != 1 || st.Product != "demo" || len(st.Keys) != 3 || st.Epoch != 1 || !st.Issued.Equal(o.Now) {
		t.Errorf("statement %+v", st)
	}
	roots := []trust.Fingerprint{res.Root, res.Standby}
	slices.Sort(roots)
	want := trust.Roles{
		Root:     trust.Role{Keys: roots, Threshold: 1},
		Manifest: trust.Role{Keys: []trust.Fingerprint{res.Manifest}, Threshold: 1},
	}
	if diff := cmp.Diff(want, st.Roles); diff != "" || len(slices.Compact(roots)) != 2 {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	data := []byte("a manifest")
	for _, p := range []trust.Purpose{trust.PurposeManifest, trust.PurposeStatement} {
		sig, err := set.Signer(o.Secrets, nil, o.Now)(p, data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Store.Open(p, data, sig, o.Now); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	// A desk whose clock goes half an hour slow.
	if _, err := set.Signer(o.Secrets, nil, o.Now.Add(-30*time.Minute))(trust.PurposeManifest, data); err != nil {
		t.Error(err)
	}
	modes := map[string]fs.FileMode{o.Secrets: fs.ModeDir | 0o700}
	for _, name := range res.Secret {
		modes[name] = 0o600
	}
	for name, want := range modes {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	for _, name := range res.Public {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if err := leak.Bytes(name, data); err != nil {
			t.Error(err)
		}
	}
	for _, name := range res.Secret {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if err := leak.Bytes(name, data); !errors.Is(err, leak.ErrSecret) {
			t.Errorf("%s is no secret key: %v", name, err)
		}
	}
}

// files returns every file below dir with its content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink {
			return err
		}
		data, err := os.ReadFile(name)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInitNeverReplaces(t *testing.T) {
	o := options(t)
	initialise(t, o)
	before := files(t, filepath.Dir(o.Project))
	if _, err := Init(o); !errors.Is(err, ErrExists) {
		t.Errorf("second Init: %v, want ErrExists", err)
	}
	if after := files(t, filepath.Dir(o.Project)); len(after) != len(before) {
		t.Errorf("second Init changed the files:\n%v\n%v", before, after)
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, "trust")); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(o); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Init over key files: %v, want ErrExists", err)
	}
}

// TestInitAllOrNothing lets the writing fail: in the middle, where the keys
// folder turns out to be a link to nowhere, and at the very end.
func TestInitAllOrNothing(t *testing.T) {
	o := options(t)
	if err := os.Symlink("nowhere", o.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(o); err == nil {
		t.Error("Init into nowhere succeeded")
	}
	if left := files(t, filepath.Dir(o.Project)); len(left) != 0 || exists(o.Secrets) {
		t.Errorf("left behind: %v", left)
	}

	o = options(t)
	o.StandbySecrets = o.Secrets
	made, err := o.makeKeys()
	if err != nil {
		t.Fatal(err)
	}
	doc, st, err := o.statement(made)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "trust", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &writer{}
	o.write(w, doc, st, made)
	if w.err == nil || len(files(t, filepath.Dir(o.Project))) != 8 {
		t.Fatalf("write over a folder: %v", w.err)
	}
	if err := w.undo(); err != nil {
		t.Error(err)
	}
	if left := files(t, filepath.Dir(o.Project)); len(left) != 0 || exists(o.Secrets) {
		t.Errorf("left behind: %v", left)
	}
}

func TestInitRefusesPlacesForSecrets(t *testing.T) {
	for name, place := range map[string]func(o *InitOptions){
		"in the project": func(o *InitOptions) { o.Secrets = filepath.Join(o.Project, "secret") },
		"standby inside": func(o *InitOptions) { o.StandbySecrets = filepath.Join(o.Project, "vault") },
		"standby is open": func(o *InitOptions) {
			o.StandbySecrets = filepath.Dir(o.Project) + "/open"
			os.Mkdir(o.StandbySecrets, 0o755)
		},
		"the project":      func(o *InitOptions) { o.Secrets = o.Project },
		"in the keys":      func(o *InitOptions) { o.Project, o.Secrets = "", filepath.Join(o.Dir, "a", "b") },
		"by dots":          func(o *InitOptions) { o.Secrets = o.Project + "/../project/out" },
		"in a work tree":   func(o *InitOptions) { os.Mkdir(filepath.Dir(o.Project)+"/.git", 0o755) },
		"in a linked tree": func(o *InitOptions) { os.WriteFile(filepath.Dir(o.Project)+"/.git", nil, 0o644) },
		"through a link": func(o *InitOptions) {
			link := filepath.Join(filepath.Dir(o.Project), "link")
			os.Symlink(o.Project, link)
			o.Secrets = filepath.Join(link, "secret")
		},
		"open to others": func(o *InitOptions) { os.MkdirAll(o.Secrets, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			home := filepath.Dir(o.Project)
			place(&o)
			if _, err := Init(o); err == nil {
				t.Errorf("Init with secrets in %s succeeded", o.Secrets)
			}
			for name := range files(t, home) {
				if filepath.Base(name) != ".git" {
					t.Errorf("left behind: %s", name)
				}
			}
		})
	}
	o := options(t)
	o.Product = "Not A Name"
	if _, err := Init(o); err == nil {
		t.Error("Init with a bad product succeeded")
	}
}

func TestPassphrase(t *testing.T) {
	o := options(t)
	asked := 0
	o.Passphrase = func(string) ([]byte, error) { asked++; return []byte("secret"), nil }
	_, set := initialise(t, o)
	if asked != 3 {
		t.Errorf("asked %d times, want once for each key", asked)
	}
	give := func(p string) Passphrase { return func(string) ([]byte, error) { return []byte(p), nil } }
	data := []byte("data")
	if _, err := set.Signer(o.Secrets, give("secret"), o.Now)(trust.PurposeManifest, data); err != nil {
		t.Error(err)
	}
	for name, ask := range map[string]Passphrase{
		"wrong": give("wrong"), "empty": give(""), "nobody": nil,
		"cancelled": func(string) ([]byte, error) { return nil, errors.New("cancelled") },
	} {
		if sig, err := set.Signer(o.Secrets, ask, o.Now)(trust.PurposeManifest, data); err == nil || sig != nil {
			t.Errorf("%s passphrase: signed, %v", name, err)
		}
	}
}

// TestEmptyPassphrase: asked for, but not given, is no wish for bare keys.
func TestEmptyPassphrase(t *testing.T) {
	o := options(t)
	o.Passphrase = func(string) ([]byte, error) { return nil, nil }
	if _, err := Init(o); !errors.Is(err, ErrEmptyPassphrase) {
		t.Errorf("Init = %v, want ErrEmptyPassphrase", err)
	}
	if left := files(t, filepath.Dir(o.Project)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSignerRefuses(t *testing.T) {
	o := options(t)
	res, set := initialise(t, o)
	name := filepath.Join(o.Secrets, string(res.Manifest)+".pgp")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(o.Secrets, string(res.Root)+".pgp"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		content []byte
		mode    fs.FileMode
		says    string
	}{
		"open to others": {good, 0o644, "0644"},
		"another key":    {other, 0o600, "holds the key"},
		"public key":     {set.Store.Statement().Keys[0].Key, 0o600, "holds no secret key"},
		"garbage":        {[]byte("garbage"), 0o600, "openpgp"},
		"empty":          {nil, 0o600, "EOF"},
	} {
		if err := os.WriteFile(name, c.content, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := set.Signer(o.Secrets, nil, o.Now)(trust.PurposeManifest, []byte("data"))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_, err = set.Signer(o.Secrets, nil, o.Now)(trust.PurposeManifest, []byte("data"))
	if err == nil || !strings.Contains(err.Error(), string(res.Manifest)) {
		t.Errorf("no secret key: %v, want the missing fingerprint", err)
	}
}

// TestLoadRefuses is threats 14 and 38: a folder that is not exactly what its
// statement says.
func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		says  string
		spoil func(o InitOptions, res Result) error
	}{
		"missing key": {"is missing", func(o InitOptions, res Result) error { return os.Remove(res.Public[1]) }},
		"strange key": {"lists no such key", func(o InitOptions, res Result) error {
			return os.Link(res.Public[1], filepath.Join(o.Dir, "manifest-0000.asc"))
		}},
		"two keys in a file": {"not exactly", func(o InitOptions, res Result) error {
			two := files(t, o.Dir)
			return os.WriteFile(res.Public[0], []byte(two[res.Public[0]]+two[res.Public[1]]), 0o644)
		}},
		"swapped keys": {"not exactly", func(o InitOptions, res Result) error {
			return os.WriteFile(res.Public[0], []byte(files(t, o.Dir)[res.Public[1]]), 0o644)
		}},
		"armor comment": {"not exactly", func(o InitOptions, res Result) error { return edit(res.Public[0], "\n\n", "\nComment: trusted\n\n") }},
		"changed statement": {"untrusted", func(o InitOptions, res Result) error {
			return edit(res.Public[3], `"demo"`, `"evil"`)
		}},
		"unsigned statement": {"is not signed", func(o InitOptions, res Result) error { return os.Remove(res.Public[4]) }},
		"wrong version": {"version 1", func(o InitOptions, res Result) error {
			return errors.Join(os.Link(res.Public[3], filepath.Join(o.Dir, "trust/2.json")),
				os.Link(res.Public[4], filepath.Join(o.Dir, "trust/2.json.sig")))
		}},
		"secret key": {"secret", func(o InitOptions, res Result) error {
			return os.Link(res.Secret[0], filepath.Join(o.Dir, "backup.bin"))
		}},
		"secret key below": {"secret", func(o InitOptions, res Result) error {
			return os.Link(res.Secret[0], filepath.Join(o.Dir, "trust", "x"))
		}},
		"link": {"plain files", func(o InitOptions, res Result) error {
			return os.Symlink(res.Secret[0], filepath.Join(o.Dir, "backup.bin"))
		}},
		"huge file": {"at most", func(o InitOptions, res Result) error { return os.Truncate(res.Public[0], 1<<20) }},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			res, _ := initialise(t, o)
			if err := c.spoil(o, res); err != nil {
				t.Fatal(err)
			}
			set, err := Load(o.Dir)
			if err == nil || set != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Load = %v, %v, want an error that says %q", set, err, c.says)
			}
		})
	}
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := Load(dir); !errors.Is(err, ErrMissing) {
			t.Errorf("Load(%s) = %v, want ErrMissing", dir, err)
		}
	}
}

// edit replaces old by new in a file, once.
func edit(name, old, new string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	changed := bytes.Replace(data, []byte(old), []byte(new), 1)
	if bytes.Equal(changed, data) {
		return errors.New(name + " has no " + old)
	}
	return os.WriteFile(name, changed, 0o644)
}
