package vectors_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// gpg is real gpg in a home of its own, which lasts for one making.
type gpg struct {
	t    *testing.T
	home string
}

func newGPG(t *testing.T) *gpg {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing: apt-get install gnupg")
	}
	home, err := os.MkdirTemp("", "gpg") // its sockets need a short name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		_ = os.RemoveAll(home)
	})
	return &gpg{t, home}
}

// run returns what gpg writes. It takes the time for day0.
func (g *gpg) run(input []byte, args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{
		"--homedir", g.home, "--batch", "--no-tty", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", "",
		"--faked-system-time", day0.Format("20060102T150405") + "!",
	}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// sign returns a function that signs with k, by the ways of gpg.
func (g *gpg) sign(k *trusttest.Key, args ...string) func([]byte) []byte {
	g.t.Helper()
	var secret bytes.Buffer
	if err := k.Entity.SerializePrivate(&secret, nil); err != nil {
		g.t.Fatal(err)
	}
	g.run(secret.Bytes(), "--import")
	args = append([]string{"-u", string(k.Fingerprint()) + "!", "--set-notation", trust.Notation + "=" + string(trust.PurposeManifest)}, args...)
	return func(data []byte) []byte { return g.run(data, append(args, "--output", "-", "-")...) }
}

// gpgvAccepts are the vectors whose manifest gpgv calls well signed and that are
// refused here for want of signatures.
var gpgvAccepts = map[string]string{
	"framing-armored":              "armored text",
	"framing-cut-second":           "what follows the first signature is broken",
	"framing-key":                  "a key beside the signature",
	"framing-long-packet":          "bytes inside the packet that are not the signature's",
	"framing-marker":               "another packet beside the signature",
	"framing-padding":              "another packet beside the signature",
	"framing-trailing-byte":        "bytes after the signature",
	"framing-trailing-newline":     "bytes after the signature",
	"framing-trailing-text":        "bytes after the signature",
	"framing-trailing-zeros":       "bytes after the signature",
	"signature-purpose-missing":    "gpgv asks for no purpose",
	"signature-purpose-not-signed": "gpgv asks for no purpose",
	"signature-purpose-statement":  "gpgv asks for no purpose",
	"signature-purpose-twice":      "gpgv asks for no purpose",
	"signature-purpose-two":        "gpgv asks for no purpose",
	"signature-sha1":               "weak digest",
	"signature-sha1-by-gpg":        "weak digest",
	"signature-sha224":             "digest that is not on the list",
	"signature-sha384":             "digest that is not on the list",
	"signature-subkey-nistp256":    "algorithm that is not on the list",
	"signature-subkey-rsa1024":     "weak key",
	"signature-subkey-rsa2048":     "weak key",
	"signature-text-mode":          "text mode",
	"signature-text-mode-by-gpg":   "text mode",
	"signature-text-mode-crlf":     "text mode, over bytes that nobody signed",
	"threshold-one-weak":           "weak digest",
}

// gpgvRefuses is the other way round: gpgv asks more of a file with a good
// signature in it than that it has one.
var gpgvRefuses = map[string]string{
	"signature-purpose-critical": "gpgv knows no notations, so none that is critical",
	"signatures-corrupt-good":    "gpgv stops at the first bad signature",
}

// TestGPGV asks gpgv about the manifest's signatures of every vector.
//
// Whatever is accepted here gpgv calls good, but for gpgvRefuses, and for keys
// that are over where the time is not trusted. What gpgv calls good and is
// refused here is in gpgvAccepts. Both lists are of gpgv 2.2.40, and complete.
func TestGPGV(t *testing.T) {
	list, err := vectors.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	stricter, laxer := map[string]string{}, map[string]string{}
	for _, v := range list {
		t.Run(v.Name, func(t *testing.T) {
			got := askGPGV(t, v)
			if got != v.GPGV {
				t.Errorf("gpgv says %s, the vector %s", got, v.GPGV)
			}
			believed := v.Releases(manifest.File)
			switch {
			case believed && got != "good" && (got != "over" || v.Now.Trusted):
				laxer[v.Name] = gpgvRefuses[v.Name]
			case !believed && v.Verdict() == untrusted && got == "good":
				stricter[v.Name] = gpgvAccepts[v.Name]
			}
		})
	}
	if diff := cmp.Diff(gpgvAccepts, stricter); diff != "" {
		t.Errorf("signatures that gpgv calls good and that are refused here, want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff(gpgvRefuses, laxer); diff != "" {
		t.Errorf("manifests that are accepted here and that gpgv refuses, want -, got +:\n%s", diff)
	}
}

// askGPGV returns what stands in the header as gpgv.
func askGPGV(t *testing.T, v vectors.Vector) string {
	t.Helper()
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Fatal("gpgv is missing: apt-get install gpgv")
	}
	name := accept.StatementFile(v.Medium)
	store, err := trust.Anchor(v.Files[name], v.Files[name+".sig"])
	data, sigs := v.Files[manifest.File], v.Files[manifest.Signature]
	if err != nil || data == nil || sigs == nil {
		return "n/a"
	}
	j := accept.New(store, v.Terms)
	_ = j.Walk(t.Context(), until(v.Files, "")) // as far as it goes
	st := j.Store().Statement()
	home := t.TempDir()
	var ring []byte
	for _, k := range st.Keys {
		if slices.Contains(st.Roles.Manifest.Keys, k.Fingerprint) {
			ring = append(ring, k.Key...)
		}
	}
	for name, content := range map[string][]byte{"ring": ring, "data": data, "sig": sigs} {
		if err := os.WriteFile(filepath.Join(home, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("gpgv", "--homedir", home, "--status-fd", "1", "--keyring", filepath.Join(home, "ring"), "sig", "data")
	cmd.Dir = home
	out, _ := cmd.Output() // the exit status is not zero where one of several is bad
	good, over := signers(string(out))
	switch need := st.Roles.Manifest.Threshold; {
	case len(good) >= need:
		return "good"
	case len(good)+len(over) >= need:
		return "over"
	}
	return "bad"
}

// signers returns the primary keys of good signatures, and of those that are
// good but over (of a key or signature that has expired since, or of a key that
// was revoked), by the status lines of gpgv (doc/DETAILS of GnuPG).
func signers(status string) (good, over map[string]bool) {
	good, over = map[string]bool{}, map[string]bool{}
	kind := ""
	for line := range strings.Lines(status) {
		f := strings.Fields(strings.TrimPrefix(line, "[GNUPG:] "))
		switch {
		case len(f) == 0:
		case strings.HasSuffix(f[0], "SIG") && f[0] != "VALIDSIG" && f[0] != "NEWSIG":
			kind = f[0]
		case f[0] == "VALIDSIG" && kind == "GOODSIG":
			good[f[len(f)-1]] = true
		case f[0] == "VALIDSIG" && (kind == "EXPSIG" || kind == "EXPKEYSIG" || kind == "REVKEYSIG"):
			over[f[len(f)-1]] = true
		}
	}
	for fpr := range good {
		delete(over, fpr)
	}
	return good, over
}

// TestSigners: what gpgv says is read as it is meant.
func TestSigners(t *testing.T) {
	const valid = "[GNUPG:] VALIDSIG AA 2026-11-01 0 0 4 0 22 10 00 %s\n"
	status := "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1 a\n" + fmt.Sprintf(valid, "A") +
		"[GNUPG:] EXPKEYSIG 2 b\n" + fmt.Sprintf(valid, "B") + "[GNUPG:] REVKEYSIG 3 c\n" + fmt.Sprintf(valid, "C") + "[GNUPG:] BADSIG 4 d\n"
	good, over := signers(status)
	if diff := cmp.Diff([]map[string]bool{{"A": true}, {"B": true, "C": true}}, []map[string]bool{good, over}); diff != "" {
		t.Error(diff)
	}
}
