package keys

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

func TestReport(t *testing.T) {
	t.Setenv("GNUPGHOME", filepath.Join(t.TempDir(), "none"))
	init := options(t)
	res, set := initialise(t, init)
	report := func(set *Set, now time.Time) Report {
		r, err := set.Report([]string{init.Secrets}, now)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	has := func(r Report, text string, want bool) {
		t.Helper()
		if got := strings.Contains(strings.Join(r.Warnings, "\n"), text); got != want {
			t.Errorf("a warning that says %q: %v, want %v\n%s", text, got, want, strings.Join(r.Warnings, "\n"))
		}
	}
	r := report(set, init.Now)
	if r.Version != 1 || r.Epoch != 1 || r.Product != "demo" || len(r.Statements) != 1 || r.Statements[0].Signers[0] != res.Root {
		t.Errorf("report %+v", r)
	}
	has(r, "role manifest has", false) // the root key replaces it
	has(r, "role root has", false)
	has(r, "take "+secretName(init.Secrets, res.Standby)+" to another place", true)
	has(r, "expire", false)
	has(report(set, init.Now.AddDate(statementYears, 0, -89)), "trust statement 1 expires on", true)
	has(report(set, init.Now.AddDate(statementYears, 0, -91)), "expires", false)
	has(report(set, init.Now.AddDate(statementYears, 0, 1)), "trust statement 1 expired on", true)

	vault := filepath.Join(t.TempDir(), "vault")
	if err := os.Mkdir(vault, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(res.Secret[2], secretName(vault, res.Standby)); err != nil {
		t.Fatal(err)
	}
	has(report(set, init.Now), "standby", false)

	o := ceremonies(init)
	_, set = apply(t, o, AddKey{Role: RoleManifest}, SetThreshold{RoleManifest, 2})
	r = report(set, init.Now)
	_, set = apply(t, o, Revoke{Fingerprint: res.Manifest, Reason: "lost with the laptop", Replace: true})
	r = report(set, init.Now)
	if len(r.Revoked.Keys) != 1 || r.Revoked.Keys[0].Reason != "lost with the laptop" {
		t.Errorf("revoked %+v", r.Revoked)
	}
	root := r.Roles[0]
	for _, k := range root.Keys {
		if k.Standby != (k.Fingerprint == res.Standby) || k.Standby != (len(k.Secret) == 0) || k.Made.IsZero() {
			t.Errorf("key %+v", k)
		}
	}
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"name":"farboot standby key (demo)"`) {
		t.Errorf("JSON %s, %v", text, err)
	}
	pub := publication(2, 1)
	pub.Issued, pub.Expires = init.Now, init.Now.AddDate(0, 0, 30)
	if err := Record(o.Dir, pub); err != nil {
		t.Fatal(err)
	}
	for days, want := range map[int]string{19: "", 21: "manifest version 1 of amd64/stable expires on", 31: "manifest version 1 of amd64/stable expired on"} {
		r := report(set, init.Now.AddDate(0, 0, days))
		has(r, "manifest version", want != "")
		has(r, want, true)
	}
	if err := os.Mkdir(filepath.Join(o.Dir, unfinished), 0o755); err != nil {
		t.Fatal(err)
	}
	if set, err = Load(o.Dir); err != nil {
		t.Fatal(err)
	}
	has(report(set, init.Now), "was interrupted", true)
}

// TestReportKeyExpiry uses gpg, since keys made here do not expire.
func TestReportKeyExpiry(t *testing.T) {
	init := options(t)
	initialise(t, init)
	home := gpgUserHome(t)
	fpr, file := gpgNew(t, home, "ed25519", "sign", "100d")
	o := ceremonies(init)
	o.Now = time.Now().Add(time.Second)
	_, set := apply(t, o, AddKey{Role: RoleManifest, File: file})
	for days, want := range map[int]string{5: "", 20: "expires on", 101: "expired on"} {
		r, err := set.Report(nil, o.Now.AddDate(0, 0, days))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range r.Warnings {
			if rest, ok := strings.CutPrefix(w, "key "+string(fpr)+" "); ok {
				got = rest
			}
		}
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("after %d days: %q, want %q", days, got, want)
		}
	}
	// Once it has expired no statement can list it.
	o.Now = o.Now.AddDate(0, 0, 101)
	if _, err := Apply(o, Renew{}); err == nil || !strings.Contains(err.Error(), string(fpr)) {
		t.Errorf("renew with an expired key: %v, want its fingerprint", err)
	}
	apply(t, o, Retire{Fingerprint: trust.Fingerprint(fpr)})
}
