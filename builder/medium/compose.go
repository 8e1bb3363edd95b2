package medium

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/medium/inspect"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
)

// Compose puts together what the medium holds. It gives up soon after ctx ends.
func Compose(ctx context.Context, p Parts) (*Medium, error) {
	agent, err := openAgent(p.Agent)
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	m := &Medium{Name: p.Recipe.Medium.Name, Epoch: p.Lock.Epoch}
	c := &composer{ctx: ctx, Parts: p, m: m, agent: agent}
	for _, step := range []func() error{c.kernel, c.fallbackEntries, c.layers, c.tell, c.initrd, c.records, c.menu, c.loaders} {
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
	// shared are the layers that do not depend on the medium's identity.
	shared   []tree.File
	fallback fallback
	// settings is what the agent is told.
	settings []byte
	// kernelPackage is the package that holds kernel and modules.
	kernelPackage string
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
		if e.Linux == nil {
			continue
		}
		entry := c.m.menu.Entries[i].Linux
		if err := c.menuFile(entry.Kernel, e.Linux.Kernel); err != nil {
			return err
		}
		for j, in := range e.Linux.Initrd {
			if err := c.menuFile(entry.Initrds[j], in); err != nil {
				return err
			}
		}
	}
	text, err := grub.Config(c.m.menu)
	if err != nil {
		return fmt.Errorf("%s: menu: %w", c.Recipe.Path, err)
	}
	return c.m.files.Add(tree.Bytes(configPath, []byte(text)))
}

// menuFile puts a file that a menu entry starts on the medium.
func (c *composer) menuFile(name string, in recipe.Input) error {
	path, _, err := c.Blobs.Path(in)
	if err != nil {
		return err
	}
	// Here it has the name that the recipe gives it.
	if err := leak.File(in.Name(), path); err != nil {
		return err
	}
	f, err := fromCache(strings.TrimPrefix(name, "/"), path)
	if err != nil {
		return err
	}
	return c.m.files.Add(f)
}

// scan refuses a medium with a secret key on it. What lies in the initrd's
// layers was scanned before it was compressed.
func (c *composer) scan() error {
	loaders := []tree.File{c.m.core, c.m.shim, c.m.grubNet, tree.Bytes("boot_hybrid.img", c.m.bootCode)}
	for _, f := range append(loaders, c.m.files.Files()...) {
		if f.Path == initrdPath {
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
