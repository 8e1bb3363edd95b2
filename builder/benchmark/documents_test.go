//go:build bench

package benchmark

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// Sizes of the race of signers. gpg takes its time for each file, so that a few
// tell what many cost.
const (
	fleet    = 10_000
	gpgFiles = 100
)

// TestDocuments compares what it costs to publish a site with a document for
// each machine. farboot's row is the whole command: it reads the recipe, makes,
// signs, verifies and writes every document, and verifies the installer's
// files. gpg signs files that are there already.
func TestDocuments(t *testing.T) {
	need(t, "gpg", "gnupg")
	d := newDesk(t)
	d.publish() // fills the cache and makes the lock
	alone := measure(func() time.Duration { return d.farboot("publish", siteRecipe, "--secrets", d.dir+"-secret") })
	d.addFleet()
	var peak int64 // KiB
	publish := func() time.Duration {
		cmd := d.command("publish", siteRecipe, "--secrets", d.dir+"-secret")
		cpu := execute(t, cmd)
		peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
		return cpu
	}
	contenders := []contender{
		{fmt.Sprintf("farboot publish, %d documents", fleet), "", 5, nil, publish},
		{fmt.Sprintf("gpg --detach-sign, %d files", gpgFiles), "", 5, nil, d.gpgSigns(gpgFiles)},
	}
	costs := race(t, contenders)
	ours, theirs := costs[0].wall/fleet, costs[1].wall/gpgFiles
	out := table{title: fmt.Sprintf("Signing for a fleet. The same site without documents takes %s.", seconds(alone.wall))}
	out.row("", "wall", "CPU", "per second", "of gpg, each", "peak memory")
	row := func(i int, each time.Duration, memory string) {
		out.row(contenders[i].name, seconds(costs[i].wall), seconds(costs[i].cpu), fmt.Sprintf("%.0f", 1/each.Seconds()), ratio(each, theirs), memory)
	}
	row(0, ours, megabytes(peak<<10))
	row(1, theirs, "")
	out.print()
}

// addFleet gives every machine of a fleet a document. The recipe lists one
// already.
func (d *desk) addFleet() {
	d.t.Helper()
	var b bytes.Buffer
	b.WriteString("documents: true\nmachines:\n")
	for i := range fleet - 1 {
		fmt.Fprintf(&b, "  - {match: {uuid: 4c4c4544-0042-3510-8050-%012x}, boot: [installer]}\n", i+1)
	}
	d.replace(siteRecipe, "machines:\n", b.String())
	d.farboot("lock", "--update", siteRecipe)
}

// gpgSigns returns a run of gpg over n files as large as a document, with the
// site's own manifest key.
func (d *desk) gpgSigns(n int) func() time.Duration {
	t := d.t
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // short, for gpg-agent's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() //nolint:errcheck // best effort
		os.RemoveAll(home)
	})
	set, err := keys.Load(d.path("keys"))
	if err != nil {
		t.Fatal(err)
	}
	key := set.Store.Statement().Roles.Manifest.Keys[0]
	gpg := "gpg --homedir " + home + " --batch --yes --quiet"
	shell(t, "%s --import %s-secret/%s.pgp", gpg, d.dir, key)()
	for i := range n {
		if err := os.WriteFile(filepath.Join(home, fmt.Sprintf("%d.json", i)), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return shell(t, "for f in %s/*.json; do %s -u %s --set-notation %s=%s --detach-sign $f; done",
		home, gpg, key, trust.Notation, trust.PurposeManifest)
}
