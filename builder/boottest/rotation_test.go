//go:build boot

package boottest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// TestRotation: a medium of statement 1 meets a site at statement 4. Since it was
// burned a manifest key and the root key were replaced, and the second manifest
// key was stolen and revoked. Its clock says 1970. First the thief answers, with
// the owner's chain and a manifest of his own, of a version that the owner has
// never reached; then the owner.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image, _ := w.build(t)
	w.keys(t, "rotate", "manifest")
	thief := newThief(t, w)
	w.keys(t, "rotate", "root")
	w.keys(t, "revoke", w.manifestKey(t), "--reason", "stolen", "--replace")
	w.publish(t)

	owner := site.Handler(w.site, nil)
	w.answer(thief.manifest(owner))
	m, ctx := start(t, vm.Config{Image: image, Args: []string{"-rtc", "base=1970-01-02T00:00:00"}})
	expect(t, ctx, m, "is before this medium was built", "trust: statement 4 (the medium carries 1)", "[untrusted]", "(stolen)", "waiting")
	w.answer(owner)
	expect(t, ctx, m, "manifest: version 1 of epoch 2", "signed by "+w.manifestKey(t)[24:], "time not verified", "handing over", markerRuns, "next kernel done")
}

// TestGPG: a key that gpg made and keeps signs what an older medium boots.
func TestGPG(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image, _ := w.build(t)
	fpr, home := gpgKey(t, filepath.Join(w.dir, "gpg.asc"))
	w.env = []string{"GNUPGHOME=" + home}
	w.keys(t, "rotate", "manifest", "--new-key", "gpg.asc")
	w.publish(t, "--sign-with", "gpg:"+fpr)
	m, ctx := start(t, vm.Config{Image: image})
	expect(t, ctx, m, "trust: statement 2 (the medium carries 1)", "manifest: version 2", "signed by "+fpr[24:], "handing over", markerRuns, "next kernel done")
}

// TestMemory: what a machine has booted once it does not go back behind, be it
// remembered by its firmware or by the stick. The same old site is good enough
// for a machine that remembers nothing. The stick's owner has put a file on it that
// says which network it is in.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	image, _ := w.build(t)
	old := snapshot(t, w.site)
	w.keys(t, "rotate", "manifest")
	w.publish(t)
	own := stick(t, image)
	settle(t, own, `[{"addresses": ["10.0.2.99/24"], "gateways": ["10.0.2.2"]}]`)
	for _, test := range []struct {
		name    string
		config  vm.Config
		place   string
		network []string
	}{
		{"UEFI variable", vm.Config{Image: image, Firmware: vm.UEFI, Vars: filepath.Join(t.TempDir(), "vars")}, "firmware variable", []string{"eth0: 10.0.2.15/24"}},
		{"stick", vm.Config{Image: own, Bus: vm.USB, Writable: true}, "partition", []string{"1 from farboot/networks.json on ", "eth0: 10.0.2.99/24"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.answer(site.Handler(w.site, nil))
			m, ctx := start(t, test.config)
			for _, network := range test.network {
				expect(t, ctx, m, "network: "+network)
			}
			expect(t, ctx, m, "manifest: version 2", "handing over", "next kernel done")
			m.Stop()
			w.answer(site.Handler(old, nil))
			m, ctx = start(t, test.config)
			expect(t, ctx, m, test.place, "[rollback]", "waiting")
			w.answer(site.Handler(w.site, nil))
			expect(t, ctx, m, "manifest: version 2", "handing over", markerRuns, "next kernel done")
		})
	}
	t.Run("nothing", func(t *testing.T) {
		w.answer(site.Handler(old, nil))
		m, ctx := start(t, vm.Config{Image: image})
		expect(t, ctx, m, "manifest: version 1", "handing over", markerRuns, "next kernel done")
	})
}

// settle puts settings of the network on a stick, as its owner does with any
// computer: into a folder of the file system that everybody can read.
func settle(t *testing.T, stick, networks string) {
	t.Helper()
	_, first, _ := strings.Cut(command(t, "gdisk", "sgdisk", "-i", "1", stick), "First sector: ")
	var sector int64
	if _, err := fmt.Sscan(first, &sector); err != nil {
		t.Fatalf("where the EFI system partition begins: %v", err)
	}
	efi := fmt.Sprintf("%s@@%d", stick, sector*512)
	command(t, "mtools", "mmd", "-i", efi, "::/farboot")
	command(t, "mtools", "mcopy", "-i", efi, save(t, "networks.json", []byte(networks)), "::/farboot/networks.json")
}

// TestExpired: where the recipe says that clocks are kept, a manifest past its
// expiry is refused. Then the site dies for good, and what the medium carries boots.
func TestExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"trust_rtc: true\n"+w.fallback(t), w.url))
	image, _ := w.build(t)
	later := time.Now().AddDate(0, 3, 0).UTC().Format("2006-01-02T15:04:05")
	m, ctx := start(t, vm.Config{Image: image, Args: []string{"-rtc", "base=" + later}})
	expect(t, ctx, m, "[expired]", "waiting")
	if strings.Contains(m.Serial(), "handing over") {
		t.Error("the machine boots what has expired")
	}
	w.server.Close()
	expect(t, ctx, m, "manifest: [unreachable]", "waiting", "handing over: fallback 1", fallbackRuns, "next kernel done")
}

// thief holds the keys that a world had at some time, and publishes with them.
type thief struct{ *world }

// newThief steals the keys of w.
func newThief(t *testing.T, w *world) thief {
	t.Helper()
	stolen := &world{dir: filepath.Join(t.TempDir(), "thief"), url: w.url}
	copyDir(t, w.dir, stolen.dir)
	copyDir(t, w.secrets(t), stolen.secrets(t))
	if out, err := exec.Command("chmod", "-R", "go=", stolen.secrets(t)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 3 { // a version that the owner has not reached
		stolen.publish(t)
	}
	stolen.site = filepath.Join(stolen.dir, "out", "site")
	return thief{stolen}
}

// manifest serves the thief's manifest and for the rest what good does.
func (s thief) manifest(good http.Handler) http.Handler {
	own := site.Handler(s.site, nil)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/manifest.json") {
			own.ServeHTTP(rw, r)
			return
		}
		good.ServeHTTP(rw, r)
	})
}

// keys runs a ceremony.
func (w *world) keys(t *testing.T, args ...string) string {
	t.Helper()
	return w.farboot(t, append([]string{"keys"}, append(args, "--secrets", w.secrets(t))...)...)
}

// publish publishes the site once more.
func (w *world) publish(t *testing.T, args ...string) {
	t.Helper()
	w.farboot(t, append([]string{"publish", "recipes/site.yaml", "--secrets", w.secrets(t)}, args...)...)
}

// manifestKey returns the fingerprint of the world's only manifest key.
func (w *world) manifestKey(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(w.dir, "keys", "manifest-*.asc"))
	if err != nil || len(names) != 1 {
		t.Fatalf("manifest keys %q, %v", names, err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(names[0]), "manifest-"), ".asc")
}

// gpgKey has gpg make a signing key, writes its public part to file and returns
// its fingerprint and gpg's home.
func gpgKey(t *testing.T, file string) (fpr, home string) {
	t.Helper()
	// Sockets of gpg-agent must have short names, so not t.TempDir.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() //nolint:errcheck // it may not run
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--passphrase", ""}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %q (Debian package gnupg): %v", args, err)
		}
		return string(out)
	}
	gpg("--quick-gen-key", "a card", "ed25519", "sign", "never")
	for line := range strings.Lines(gpg("--with-colons", "--list-keys")) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && fpr == "" {
			fpr = f[9]
		}
	}
	gpg("--armor", "--output", file, "--export", fpr)
	return fpr, home
}

// snapshot copies a site as it is.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "site")
	copyDir(t, dir, to)
	return to
}

// copyDir copies a folder.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// stick copies the image to one that a machine may write to, with the room
// behind it that a real stick has.
func stick(t *testing.T, image string) string {
	t.Helper()
	src, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(t.TempDir(), "stick.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	return dst.Name()
}
