//go:build bench

package benchmark

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/toolbox"
	"github.com/farboot/farboot/payload/fetch"
)

const rescueRecipe = "recipes/rescue.yaml"

// TestToolbox makes the toolbox of the rescue medium, and has mmdebstrap unpack
// the same packages, out of a repository on the disk. That leaves a folder with
// manual pages and translations and without what scripts would have made;
// mksquashfs turns it into one file.
func TestToolbox(t *testing.T) {
	need(t, "mmdebstrap", "mmdebstrap")
	need(t, "mksquashfs", "squashfs-tools")
	need(t, "dpkg-scanpackages", "dpkg-dev")
	d := newDesk(t)
	text, err := os.ReadFile("../../" + rescueRecipe)
	if err != nil {
		t.Fatal(err)
	}
	d.write(rescueRecipe, text)
	d.write("recipes/admin.pub", nil) // of no matter here
	b := d.openToolbox()
	repo, theirs := b.repository(), filepath.Join(t.TempDir(), "theirs")
	unpack := fmt.Sprintf(`mmdebstrap --quiet --variant=extract --include=%s bookworm %s "deb [trusted=yes] copy://%s ./"`,
		strings.Join(toolbox.Packages(b.recipe.Medium.Toolbox.Packages), ","), theirs, repo)
	pack := fmt.Sprintf("mksquashfs %s %[1]s.squashfs -comp zstd -b 1M -quiet -no-progress", theirs)
	fresh := func() { shell(t, "rm -rf %s*", theirs)() }
	contenders := []contender{
		{"farboot, cold: downloads only", "", 3, b.forget, b.build},
		{"farboot, warm", "", 9, nil, b.build},
		{"mmdebstrap --variant=extract", "", 3, fresh, shell(t, "%s", unpack)},
		{"the same, and mksquashfs", theirs + ".squashfs", 1, fresh, shell(t, "%s; %s", unpack, pack)},
	}
	costs := race(t, contenders)
	out := table{title: fmt.Sprintf("A toolbox: the %d packages of %s, %s", len(b.packages), rescueRecipe, megabytes(b.downloads()))}
	out.row("", "wall", "CPU", "of mmdebstrap", "file")
	for i, c := range contenders {
		result := ""
		if path := c.result; path != "" || i < 2 {
			if i < 2 {
				path = b.result
			}
			result = megabytes(size(t, path))
		}
		out.row(c.name, seconds(costs[i].wall), seconds(costs[i].cpu), ratio(costs[i].wall, costs[2].wall), result)
	}
	out.print()
}

// box is a toolbox to be built.
type box struct {
	t        *testing.T
	recipe   *recipe.Recipe
	lock     *lock.Lock
	options  source.Options
	blobs    *source.Blobs
	packages []lock.Input
	cache    *cache.Cache // of what is built
	result   string
}

// openToolbox locks and fetches what the toolbox is made of.
func (d *desk) openToolbox() *box {
	d.t.Helper()
	b := &box{t: d.t}
	fail := func(err error) {
		if err != nil {
			d.t.Fatal(err)
		}
	}
	var err error
	b.recipe, err = recipe.Load(d.path(rescueRecipe))
	fail(err)
	downloads, err := cache.Open(filepath.Join(d.cache, "farboot"))
	fail(err)
	client := fetch.New(fetch.DefaultLimits())
	d.t.Cleanup(client.Close)
	b.options = source.Options{Cache: downloads, Client: client}
	b.lock, err = source.Resolve(d.t.Context(), b.recipe, nil, b.options)
	fail(err)
	b.blobs, err = source.Fetch(d.t.Context(), b.recipe, b.lock, b.options)
	fail(err)
	d.t.Cleanup(func() { b.blobs.Close() }) //nolint:errcheck // only read from
	b.packages, err = b.blobs.Toolbox(b.recipe.Medium.Toolbox.Toolbox)
	fail(err)
	b.forget()
	return b
}

// forget leaves nothing of what was built.
func (b *box) forget() {
	b.t.Helper()
	var err error
	if b.cache, err = cache.Open(b.t.TempDir()); err != nil {
		b.t.Fatal(err)
	}
}

// build builds the toolbox in this process.
func (b *box) build() time.Duration {
	b.t.Helper()
	t := b.recipe.Medium.Toolbox
	path, _, err := toolbox.Build(b.t.Context(), toolbox.Config{
		Packages: b.packages, Open: b.blobs.Deb, Alternatives: t.Alternatives, Drop: t.Drop, Epoch: b.lock.Epoch, Cache: b.cache,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.result = path
	return 0
}

// downloads returns how many bytes the packages have.
func (b *box) downloads() (sum int64) {
	for _, p := range b.packages {
		sum += p.Size
	}
	return sum
}

// repository returns a folder with the packages that apt can read.
func (b *box) repository() string {
	b.t.Helper()
	dir := b.t.TempDir()
	for _, p := range b.packages {
		path, _, err := b.blobs.Path(recipe.Input{Deb: strings.TrimPrefix(p.Name, "deb:")})
		if err != nil {
			b.t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.TrimPrefix(p.Name, "deb:")+".deb"), data, 0o644)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	shell(b.t, "cd %s; dpkg-scanpackages -m . >Packages", dir)()
	return dir
}
