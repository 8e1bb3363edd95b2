package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/medium"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// buildCommand makes a medium.
func buildCommand() *cobra.Command {
	var b build
	c := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Build a medium: a hybrid ISO/USB image and a netboot folder",
		Long: `build makes out/NAME.iso and out/NAME/ from a recipe of kind "medium".

The image starts from CD and from USB stick, under BIOS, UEFI and Secure Boot;
write it to a stick with dd. The folder holds the same for a TFTP or HTTP
server.

The first build resolves the recipe and writes a lock beside it; later ones use
the lock and give the same bytes. "farboot lock --update" renews it. The first
build takes about a minute plus the download, most of it for compression
(compression: zstd is fast and 3 MB larger); a later one takes well under a
second, also with new keys. No root is needed.

The medium carries the newest trust statement. What keys/published.json says was
published is its floor: it never boots anything older, on any machine.`,
		Example: "  farboot build recipes/netboot.yaml",
		Args:    exactArgs(1, "one recipe"),
		RunE:    func(c *cobra.Command, args []string) error { return b.run(c, args[0]) },
	}
	c.Flags().StringVar(&b.out, "out", "", "folder for the results (default: out/ of the project)")
	c.Flags().StringVar(&b.agent, "agent", "", "the agent's binary (default: farboot-agent beside farboot)")
	c.Flags().BoolVar(&b.json, "json", false, "print the result as JSON")
	return c
}

// build is one run of "farboot build".
type build struct {
	out, agent string
	json       bool
}

// built is what "farboot build" reports.
type built struct {
	Name    string    `json:"name"`
	Build   string    `json:"build"`
	Epoch   time.Time `json:"epoch"`
	Kernel  string    `json:"kernel"`
	Lock    string    `json:"lock"`
	Image   string    `json:"image"`
	Netboot string    `json:"netboot"`
	object.Ref
	// Statement is the trust statement that the medium carries.
	Statement int64 `json:"statement"`
	// Floor is below what the medium accepts nothing.
	Floor state.Floor `json:"floor,omitzero"`
	// Warning says that the medium and what was published do not go together.
	Warning string `json:"warning,omitzero"`
}

func (b build) run(c *cobra.Command, path string) error {
	agent, err := b.agentPath()
	if err != nil {
		return err
	}
	d, err := openDesk(c, path, recipe.KindMedium)
	if err != nil {
		return err
	}
	if err := medium.Check(d.recipe); err != nil {
		return err
	}
	out, err := d.outDir(b.out)
	if err != nil {
		return err
	}
	_, folder := medium.Places(out, d.recipe.Name())
	if err := medium.CheckNetboot(folder); err != nil {
		return withHint(err, "another name in the recipe, or --out, leaves it in peace")
	}
	set, err := d.keys()
	if err != nil {
		return err
	}
	published, err := keys.LoadPublished(set.Dir)
	if err != nil {
		return err
	}
	if err := d.openLock(c.Context()); err != nil {
		return err
	}
	blobs, err := d.fetch(c.Context())
	if err != nil {
		return err
	}
	defer blobs.Close()
	d.progress.step("building %s", d.recipe.Name())
	newest, floor := set.Newest(), published.Floor("amd64", d.recipe.Medium.Channel)
	m, err := medium.Compose(c.Context(), medium.Parts{
		Recipe: d.recipe, Lock: d.lock, Blobs: blobs, Cache: d.cache, Agent: agent, Warn: d.progress.warn,
		Statement: newest.Statement, Signatures: newest.Signature,
		Lineage: object.OfBytes(set.Chain[0].Statement).SHA256, Floor: floor,
	})
	if err != nil {
		return err
	}
	image, netboot := medium.Places(out, m.Name)
	return b.write(c, m, out, built{
		Name: m.Name, Build: m.Build.String(), Epoch: m.Epoch, Kernel: m.Kernel, Lock: d.lockPath(),
		Image: image, Netboot: netboot,
		Statement: newest.Version, Floor: floor, Warning: behind(newest.Version, floor),
	})
}

// write packs the medium into the folder out and reports.
func (b build) write(c *cobra.Command, m *medium.Medium, out string, result built) error {
	var err error
	if result.Ref, err = m.Write(out); err != nil {
		return err
	}
	if b.json {
		return printJSON(c.OutOrStdout(), result)
	}
	rows := [][2]string{
		{"image", fmt.Sprintf("%s (%s)", result.Image, bytesText(result.Size))},
		{"sha256", result.SHA256.String()},
		{"netboot", result.Netboot + string(filepath.Separator)},
		{"kernel", result.Kernel},
		{"build", result.Build},
		{"trust", fmt.Sprintf("statement %d", result.Statement)},
		{"floor", floorText(result.Floor)},
	}
	if result.Warning != "" {
		rows = append(rows, [2]string{"warning", result.Warning})
	}
	table(c.OutOrStdout(), rows)
	return nil
}

// behind says what is to be published before the medium is of full use, or "".
func behind(statement int64, floor state.Floor) string {
	switch {
	case floor.Version == 0:
		return "no publication yet, floor none: this medium would accept any; build it again after the first"
	case floor.Statement < statement:
		return fmt.Sprintf("statement %d is newer than the last publication, of statement %d: publish each site, or this medium may refuse it",
			statement, floor.Statement)
	}
	return ""
}

// floorText tells a floor to people.
func floorText(f state.Floor) string {
	if f.Version == 0 {
		return "none: nothing had been published"
	}
	return fmt.Sprintf("manifest version %d of epoch %d, issued %s", f.Version, f.Epoch, day(f.Issued))
}

// agentPath returns where the agent's binary lies.
func (b build) agentPath() (string, error) {
	if b.agent != "" {
		return b.agent, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("agent: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "farboot-agent")
	if _, err := os.Stat(path); err != nil {
		return "", withHint(fmt.Errorf("agent: %w", err), `"make" builds it beside farboot; --agent names another place`)
	}
	return path, nil
}
