package medium

import (
	"fmt"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
)

// agentCmdline is what every agent's kernel gets: quiet, so that the console
// is the agent's, and a reboot after a panic, because nobody is there to press
// a button.
const agentCmdline = "quiet panic=30"

// Compose puts together what the medium holds.
func Compose(p Parts) (*Medium, error) {
	agent, err := describeAgent(p.Agent)
	if err != nil {
		return nil, err
	}
	m := &Medium{Name: p.Recipe.Medium.Name, Build: buildID(p, agent), Epoch: p.Lock.Epoch}
	c := &composer{Parts: p, m: m, agent: agent}
	for _, step := range []func() error{c.kernel, c.initrd, c.records, c.menu, c.biosLoader, c.efiLoader} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m, c.scan()
}

// composer fills a Medium, one method a part.
type composer struct {
	Parts
	m     *Medium
	agent agentBinary
	// kernelPackage is the package that holds kernel and modules.
	kernelPackage string
}

// records puts on the medium, for people, what it was made of.
func (c *composer) records() error {
	marker := fmt.Sprintf("farboot medium %s\nbuild %s\nepoch %s\n", c.m.Name, c.m.Build, c.m.Epoch.Format("2006-01-02T15:04:05Z"))
	lock, err := c.lockText()
	if err != nil {
		return err
	}
	return c.m.files.Add(
		tree.Bytes(c.m.Build.marker(), []byte(marker)),
		tree.Bytes("farboot/lock.json", lock),
		tree.Bytes("farboot/statement.json", c.Statement),
		tree.Bytes("farboot/statement.json.sig", c.Signatures),
	)
}

// menu turns the recipe's menu into the bootloader's, with the files that its
// entries name.
func (c *composer) menu() error {
	r := c.Recipe.Medium
	c.m.menu = grub.Menu{Timeout: *r.Timeout, Consoles: r.Console}
	for i, e := range r.Menu {
		entry := grub.Entry{Title: e.Title}
		var err error
		if e.Agent != nil {
			entry.Linux = grub.Linux{
				Kernel: "/" + kernelPath, Initrds: []string{"/" + initrdPath},
				Cmdline: join(consoleArgs(r.Console), agentCmdline, r.Cmdline, e.Agent.Cmdline),
			}
		} else if entry.Linux, err = c.menuLinux(i, e.Linux); err != nil {
			return err
		}
		c.m.menu.Entries = append(c.m.menu.Entries, entry)
	}
	if err := c.m.menu.Validate(); err != nil {
		return fmt.Errorf("%s: menu: %w", c.Recipe.Path, err)
	}
	text, err := grub.Config(c.m.menu)
	if err != nil {
		return fmt.Errorf("%s: menu: %w", c.Recipe.Path, err)
	}
	return c.m.files.Add(tree.Bytes(configPath, []byte(text)))
}

// menuLinux puts the files of the menu's entry number i on the medium.
func (c *composer) menuLinux(i int, e *recipe.LinuxEntry) (grub.Linux, error) {
	out := grub.Linux{Cmdline: e.Cmdline}
	add := func(in recipe.Input, name string) (string, error) {
		path, _, err := c.Blobs.Path(in)
		if err != nil {
			return "", fmt.Errorf("%s:%d: %w", c.Recipe.Path, in.Line, err)
		}
		f, err := fromCache(fmt.Sprintf("boot/menu/%d/%s", i, name), path)
		if err != nil {
			return "", err
		}
		return "/" + f.Path, c.m.files.Add(f)
	}
	var err error
	if out.Kernel, err = add(e.Kernel, "kernel"); err != nil {
		return out, err
	}
	for j, in := range e.Initrd {
		path, err := add(in, fmt.Sprintf("initrd%d", j))
		if err != nil {
			return out, err
		}
		out.Initrds = append(out.Initrds, path)
	}
	return out, nil
}

// scan refuses a medium with a secret key on it. What lies in the initrd's
// layers was scanned before it was compressed.
func (c *composer) scan() error {
	for _, f := range c.m.files.Files() {
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

// consoleArgs returns the console= arguments for a kernel.
func consoleArgs(consoles []string) string {
	var args []string
	for _, c := range consoles {
		args = append(args, "console="+c)
	}
	return strings.Join(args, " ")
}

// join puts the parts of a command line together, leaving out empty ones.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
