package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/payload/manifest"
)

// publishCommand makes a site.
func publishCommand() *cobra.Command {
	var p publish
	c := &cobra.Command{
		Use:   "publish RECIPE",
		Short: "Publish a site: objects, trust statements and a signed manifest",
		Long: `publish makes or renews out/NAME/ from a recipe of kind "site": kernels and
initrds by their hash, the trust statements, and last the manifest with its
signature. The folder can be served by "farboot serve" or any web server, or
copied to a CDN: objects first, manifest.json.sig and manifest.json last.

Every publication has a higher version than the one before, which is why the old
folder must be there. Nothing is published that a machine would refuse.`,
		Example: "  farboot publish recipes/demo-site.yaml",
		Args:    exactArgs(1, "one recipe"),
		RunE:    func(c *cobra.Command, args []string) error { return p.run(c, args[0]) },
	}
	c.Flags().StringVar(&p.out, "out", "", "folder for the results (default: out/ of the project)")
	c.Flags().BoolVar(&p.json, "json", false, "print the result as JSON")
	p.secret.flags(c)
	return c
}

// publish is one run of "farboot publish".
type publish struct {
	out    string
	json   bool
	secret secretFlags
}

// published is what "farboot publish" reports.
type published struct {
	Site string `json:"site"`
	site.Result
}

func (p *publish) run(c *cobra.Command, path string) error {
	d, err := openDesk(c, path, recipe.KindSite)
	if err != nil {
		return err
	}
	set, err := keys.Load(d.inProject(d.recipe.Trust()))
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
	o, err := siteOptions(d.recipe, blobs)
	if err != nil {
		return err
	}
	secrets, err := p.secret.folder()
	if err != nil {
		return err
	}
	out, err := d.outDir(p.out)
	if err != nil {
		return err
	}
	o.Dir, o.Keys, o.Now = filepath.Join(out, d.recipe.Name()), set, time.Now()
	o.Sign = set.Signer(secrets, p.secret.passphrase(c, false), o.Now)
	result, err := site.Publish(c.Context(), o)
	if errors.Is(err, site.ErrForeign) {
		return withHint(err, "--out names another folder")
	}
	if err != nil {
		return err
	}
	return p.report(c, published{o.Dir, result})
}

// report prints what was published.
func (p *publish) report(c *cobra.Command, r published) error {
	if p.json {
		return printJSON(c.OutOrStdout(), r)
	}
	rows := [][2]string{
		{"site", r.Site + string(filepath.Separator)},
		{"manifest", fmt.Sprintf("version %d, expires %s", r.Version, r.Expires.Format("2006-01-02 15:04 MST"))},
		{"objects", fmt.Sprintf("%d, of which %d new (%s)", r.Objects, r.Added, bytesText(r.Bytes))},
	}
	for _, s := range r.Signers {
		rows = append(rows, [2]string{"signed by", string(s)})
	}
	table(c.OutOrStdout(), rows)
	return nil
}

// siteOptions turns a recipe with its fetched inputs into what is published.
func siteOptions(r *recipe.Recipe, blobs *source.Blobs) (site.PublishOptions, error) {
	s := r.Site
	o := site.PublishOptions{
		Product: s.Product, Arch: "amd64", Channel: s.Channel, Default: s.Default,
		Valid:   time.Duration(*s.ValidDays) * 24 * time.Hour,
		Entries: map[string]site.Entry{},
	}
	for _, m := range s.Machines {
		o.Machines = append(o.Machines, manifest.Machine{Match: manifest.Match(m.Match), Boot: m.Boot})
	}
	for _, name := range s.EntryNames() {
		e := s.Entries[name]
		entry := site.Entry{Title: e.Title, Cmdline: e.Linux.Cmdline}
		var err error
		if entry.Kernel, err = siteFile(blobs, e.Linux.Kernel); err != nil {
			return o, err
		}
		for _, in := range e.Linux.Initrd {
			f, err := siteFile(blobs, in)
			if err != nil {
				return o, err
			}
			entry.Initrd = append(entry.Initrd, f)
		}
		o.Entries[name] = entry
	}
	return o, nil
}

// siteFile returns the file of an input, unless it holds a secret key.
func siteFile(blobs *source.Blobs, in recipe.Input) (site.File, error) {
	path, ref, err := blobs.Path(in)
	if err != nil {
		return site.File{}, err
	}
	return site.File{Path: path, Ref: ref}, leak.File(in.Name(), path)
}
