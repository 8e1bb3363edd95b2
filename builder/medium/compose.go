package medium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/medium/inspect"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/xen"
)

// Compose puts together what the medium holds. It gives up soon after ctx ends.
func Compose(ctx context.Context, p Parts) (*Medium, error) {
	agent, err := openAgent(p.Agent)
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	m := &Medium{Name: p.Recipe.Medium.Name, Epoch: p.Lock.Epoch}
	c := &composer{ctx: ctx, Parts: p, m: m, agent: agent, clean: map[string]bool{}}
	for _, step := range []func() error{c.anchor, c.kernel, c.objects, c.gather, c.tell, c.initrd, c.records, c.menu, c.loaders} {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m, c.scan()
}

// composer fills a Medium, one method a part.
type composer struct {
	ctx context.Context // Compose's
	Parts
	m     *Medium
	agent *os.File
	// store says what is revoked.
	store *trust.Store
	// shared are the layers that do not depend on the medium's identity.
	shared   []tree.File
	fallback fallback
	// told is what the agent is told of the medium's toolbox; nil without one.
	told *settings.Toolbox
	// settings is what the agent is told.
	settings []byte
	// kernelPackage is the package that holds kernel and modules.
	kernelPackage string
	// core and esp are what starts the image, without the text that names it.
	core []byte
	esp  espLayer

	mu sync.Mutex
	// clean are the paths of files that were scanned as they lie in the cache.
	clean map[string]bool
}

// errRevoked says that the trust statement revokes what was to lie on the medium.
var errRevoked = errors.New("revoked")

// anchor reads the statement that the medium carries.
func (c *composer) anchor() (err error) {
	if c.store, err = trust.Anchor(c.Statement, c.Signatures); err != nil {
		return fmt.Errorf("medium: %w", err)
	}
	return nil
}

// allowed refuses bytes that the medium's own statement revokes.
func (c *composer) allowed(name string, id object.ID) error {
	if r, revoked := c.store.Revokes(id); revoked {
		return fmt.Errorf("%s is %w since %s: %s", name, errRevoked, r.Since.Format(time.DateOnly), r.Reason)
	}
	return nil
}

// gather brings together all that does not depend on the medium's identity, and
// then has that. Warm, it costs what it takes to hash it, so that it is done at
// the same time; cold, the agent's layer is packed on one core, while the
// modules' leaves a core idle now and then.
func (c *composer) gather() error {
	makers := []func() (tree.File, object.Ref, error){c.modulesLayer, c.agentLayer, c.rootsLayer, c.fallbackLayer}
	c.shared = make([]tree.File, len(makers))
	made := make([]object.Ref, len(makers))
	var g errgroup.Group
	for i, layer := range makers {
		g.Go(func() (err error) {
			c.shared[i], made[i], err = layer()
			return err
		})
	}
	var vmlinuz tree.File
	g.Go(func() (err error) {
		vmlinuz, err = c.vmlinuz()
		return err
	})
	g.Go(c.biosLoader)
	g.Go(c.efiLoader)
	g.Go(c.netLoaders)
	if err := g.Wait(); err != nil {
		return err
	}
	if c.told != nil {
		made = append(made, c.told.Ref)
	}
	c.m.Build = buildID(c.Parts, made)
	return c.m.files.Add(vmlinuz)
}

// records puts on the medium, for people, what it was made of and what its agent
// is told.
func (c *composer) records() error {
	marker := fmt.Sprintf("farboot medium %s\nbuild %s\nepoch %s\n", c.m.Name, c.m.Build, c.m.Epoch.Format("2006-01-02T15:04:05Z"))
	lock, err := c.lockText()
	if err != nil {
		return err
	}
	return c.m.files.Add(
		tree.Bytes(c.m.Build.marker(), []byte(marker)),
		tree.Bytes(lockCopy, lock),
		tree.Bytes(inspect.SettingsPath, c.settings),
		tree.Bytes(inspect.StatementPath, c.Statement),
		tree.Bytes(inspect.SignaturesPath, c.Signatures),
	)
}

// menu puts the bootloader's menu on the medium, and the files that its entries
// name.
func (c *composer) menu() error {
	c.m.menu = bootMenu(c.Recipe.Medium)
	for i, e := range c.Recipe.Medium.Menu {
		err := c.entryFiles(e, c.m.menu.Entries[i])
		if errors.Is(err, errRevoked) || errors.Is(err, xen.ErrELF) || errors.Is(err, xen.ErrHeader) {
			return c.Recipe.Mistake(fmt.Sprintf("menu[%d]", i), "", "%v", err)
		}
		if err != nil {
			return err
		}
	}
	if hasXen(c.Recipe.Medium) {
		if err := c.multiboot(); err != nil {
			return err
		}
	}
	text, err := grub.Config(c.m.menu)
	if err != nil {
		return fmt.Errorf("%s: menu: %w", c.Recipe.Path, err)
	}
	return c.m.files.Add(tree.Bytes(configPath, []byte(text)))
}

// entryFiles puts what a menu entry starts on the medium.
func (c *composer) entryFiles(e recipe.MenuEntry, entry grub.Entry) error {
	switch {
	case e.Xen != nil:
		return c.xenFiles(e, entry.Xen)
	case e.Memtest != nil:
		return c.menuFile(entry.Linux.Kernel, e.Memtest.Input)
	case e.Linux != nil:
		if err := c.menuFile(entry.Linux.Kernel, e.Linux.Kernel); err != nil {
			return err
		}
		for j, in := range e.Linux.Initrd {
			if err := c.menuFile(entry.Linux.Initrds[j], in); err != nil {
				return err
			}
		}
	}
	return nil
}

// menuFile puts a file that a menu entry starts on the medium.
func (c *composer) menuFile(name string, in recipe.Input) error {
	path, ref, err := c.Blobs.Path(in)
	if err != nil {
		return err
	}
	f, err := c.scanned(strings.TrimPrefix(name, "/"), in.Name(), path, ref)
	if err != nil {
		return err
	}
	return c.m.files.Add(f)
}

// taken returns a file of a package, to lie at path.
func (c *composer) taken(path, pkg, file string) (tree.File, error) {
	blob, ref, err := c.Blobs.File(pkg, file)
	if err != nil {
		return tree.File{}, err
	}
	return c.scanned(path, path, blob, ref)
}

// scanned returns what lies in the cache at blob as a file for path, unless it
// is revoked or holds a secret key: then the error calls it name. That it holds none
// is kept in the cache.
func (c *composer) scanned(path, name, blob string, ref object.Ref) (tree.File, error) {
	if err := c.allowed(name, ref.SHA256); err != nil {
		return tree.File{}, err
	}
	_, _, err := c.Cache.Layer(keyOf("no secret key", ref), func(w io.Writer) error {
		if err := leak.File(name, blob); err != nil {
			return err
		}
		_, err := io.WriteString(w, "no secret key\n")
		return err
	})
	if err != nil {
		return tree.File{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clean[path] = true
	return fromCache(path, blob)
}

// scan refuses a medium with a secret key on it. What lies in the initrd's
// layers, in the EFI system partition and in the cache was scanned on its way
// there.
func (c *composer) scan() error {
	loaders := []tree.File{c.m.core, c.m.shim, c.m.grubNet, tree.Bytes("boot_hybrid.img", c.m.bootCode)}
	for _, f := range append(loaders, c.m.files.Files()...) {
		if f.Path == initrdPath || c.clean[f.Path] {
			continue
		}
		if err := scanFile(f); err != nil {
			return err
		}
	}
	return nil
}

// scanFile refuses a file that holds a secret key.
func scanFile(f tree.File) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("medium: %w", err)
	}
	defer r.Close()
	return leak.Scan(f.Path, r)
}
