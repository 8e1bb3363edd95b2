//go:build bench

package benchmark

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/payload/object"
)

// bin holds the commands that are measured, freshly built.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "farboot-benchmark")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		for _, line := range []string{ // the first two as in the Makefile
			"CGO_ENABLED=0 go build -trimpath -o %s/farboot ../cmd/farboot",
			"CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -gcflags=all=-l -o %s/farboot-agent ../../payload/agent",
			"CGO_ENABLED=0 go build -o %s/plain ./plain",
		} {
			if out, err := exec.Command("sh", "-c", fmt.Sprintf(line, dir)).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
				return 1
			}
		}
		bin = dir
		return m.Run()
	}())
}

// Recipes and results of a desk.
const (
	mediumRecipe = "recipes/netboot.yaml"
	siteRecipe   = "recipes/demo-site.yaml"
	image        = "out/netboot.iso"
)

// desk is an operator's project, with the recipes that farboot ships.
type desk struct {
	t     *testing.T
	dir   string
	cache string // what the user's folder for caches is to be
}

// newDesk makes a project with keys and without locks. Its cache is the user's,
// which "make" has filled.
func newDesk(t *testing.T) *desk {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t, t.TempDir(), cache}
	for _, name := range []string{mediumRecipe, siteRecipe} {
		data, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		d.write(name, data)
	}
	d.newKeys()
	return d
}

// path returns where a file of the project lies.
func (d *desk) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// write writes a file of the project.
func (d *desk) write(name string, data []byte) {
	d.t.Helper()
	err := os.MkdirAll(filepath.Dir(d.path(name)), 0o755)
	if err == nil {
		err = os.WriteFile(d.path(name), data, 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// newKeys replaces the keys.
func (d *desk) newKeys() {
	d.t.Helper()
	if err := os.RemoveAll(d.path("keys")); err != nil {
		d.t.Fatal(err)
	}
	d.farboot("keys", "init", "--product", "demo", "--secrets", d.dir+"-secret")
}

// build builds the demo medium.
func (d *desk) build() time.Duration {
	d.t.Helper()
	return d.farboot("build", mediumRecipe)
}

// publish publishes the demo site.
func (d *desk) publish() {
	d.t.Helper()
	d.farboot("publish", siteRecipe, "--secrets", d.dir+"-secret")
}

// farboot runs the command and returns its processor time.
func (d *desk) farboot(args ...string) time.Duration {
	d.t.Helper()
	return execute(d.t, d.command(args...))
}

// command returns the command, to be run in the project.
func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "farboot"), args...)
	cmd.Dir, cmd.Env = d.dir, append(os.Environ(), "XDG_CACHE_HOME="+d.cache)
	return cmd
}

// lock returns a recipe's lock.
func (d *desk) lock(recipe string) (l lock.Lock) {
	d.t.Helper()
	data, err := os.ReadFile(lock.PathFor(d.path(recipe)))
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return l
}

// blob returns where the cache keeps an object.
func (d *desk) blob(ref object.Ref) string {
	return filepath.Join(d.cache, "farboot", "blobs", ref.SHA256.String())
}

// size returns the size of a file in bytes.
func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
