package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
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
copied to a CDN, in this order: objects/ and images.castr/, trust/ with the
highest number first, machines/, manifest.json.sig, manifest.json.

A manifest is good for valid_days of the recipe, 30 if it says none: publish
again before, changed or not.

Every publication has a higher version than the one before. keys/published.json
notes it, and belongs under version control: media built from then on accept
nothing older. Nothing is published that a machine would refuse.

A channel belongs to one recipe and one folder. To try something, give it a
channel of its own, in its recipe and in that of a medium. --take-over gives the
channel to another recipe or folder for good.

Where more keys must sign than are at hand, the manifest is left beside the site
in out/NAME.pending/, and the site stays as it is (exit status 3). Others sign
the file there with "farboot keys sign"; --collect then publishes it.`,
		Example: `  farboot publish recipes/demo-site.yaml
  farboot publish recipes/demo-site.yaml --sign-with gpg:F693331A5057C709F56DAAC8EF241EA01CFB5433
  farboot publish recipes/demo-site.yaml --collect`,
		Args: exactArgs(1, "one recipe"),
		RunE: func(c *cobra.Command, args []string) error { return p.run(c, args[0]) },
	}
	c.Flags().StringVar(&p.out, "out", "", "folder for the results (default: out/ of the project)")
	c.Flags().BoolVar(&p.json, "json", false, "print the result as JSON")
	c.Flags().BoolVar(&p.collect, "collect", false, "publish what waited for signatures, nothing new")
	c.Flags().BoolVar(&p.takeOver, "take-over", false, "this recipe and folder have the channel from now on")
	c.Flags().Int64Var(&p.atLeast, "at-least", 0, "the lowest version to have, where what was published before is lost")
	p.secret.flags(c, "sign-with")
	c.MarkFlagsMutuallyExclusive("collect", "sign-with")
	return c
}

// publish is one run of "farboot publish".
type publish struct {
	out           string
	json, collect bool
	takeOver      bool
	atLeast       int64
	secret        secretFlags
}

// published is what "farboot publish" reports.
type published struct {
	Site string `json:"site"`
	site.Result
}

// waiting is what it reports where signatures are missing.
type waiting struct {
	Site string `json:"site"`
	// Pending is the folder with what is to be signed.
	Pending string `json:"pending"`
}

func (p *publish) run(c *cobra.Command, path string) error {
	d, err := openDesk(c, path, recipe.KindSite)
	if err != nil {
		return err
	}
	set, err := d.keys()
	if err != nil {
		return err
	}
	if p.collect {
		return p.complete(c, d, set)
	}
	if err := d.openLock(c.Context()); err != nil {
		return err
	}
	blobs, err := d.fetch(c.Context())
	if err != nil {
		return err
	}
	defer blobs.Close()
	o, err := siteOptions(d.recipe, stock.New(c.Context(), stock.Parts{Recipe: d.recipe, Lock: d.lock, Blobs: blobs, Cache: d.cache, Warn: d.progress.warn}))
	if err != nil {
		return err
	}
	out, err := d.outDir(p.out)
	if err != nil {
		return err
	}
	o.Dir, o.Keys, o.Now, o.AtLeast = filepath.Join(out, d.recipe.Name()), set, time.Now(), p.atLeast
	if o.Origin, err = p.origin(d, o.Dir); err != nil {
		return err
	}
	if o.Sign, err = p.signer(c, o); err != nil {
		return err
	}
	result, err := site.Publish(c.Context(), o)
	return p.end(c, published{o.Dir, result}, err)
}

// signer returns what signs the manifest.
func (p *publish) signer(c *cobra.Command, o site.PublishOptions) (keys.Signer, error) {
	folders, err := p.secret.folders()
	if err != nil {
		return nil, err
	}
	signers, err := p.secret.signers(c, o.Keys)
	if err != nil {
		return nil, err
	}
	with := keys.SignOptions{Signers: signers, Secrets: folders, Passphrase: p.secret.ask(c), Now: o.Now, Pending: site.PendingDir(o.Dir)}
	if !o.Documents {
		return o.Keys.SignWith(with), nil
	}
	// A document for each machine is too much to send around.
	with.Pending = ""
	sign := o.Keys.SignWith(with)
	return func(purpose trust.Purpose, data []byte) ([]byte, error) {
		sigs, err := sign(purpose, data)
		return sigs, withHint(err, "with documents: true all keys that must sign have to be at one desk: --secrets and --sign-with name them")
	}, nil
}

// origin tells what is published, and to where, from the project's folder.
func (p *publish) origin(d *desk, dir string) (site.Origin, error) {
	recipe, err := relative(d.recipe.Dir, d.recipe.Path)
	if err != nil {
		return site.Origin{}, err
	}
	folder, err := relative(d.recipe.Dir, dir)
	return site.Origin{Recipe: recipe, Folder: folder, TakeOver: p.takeOver}, err
}

// relative returns the way from the folder dir to path, with slashes.
func relative(dir, path string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	return filepath.ToSlash(rel), err
}

// complete publishes what others have signed meanwhile.
func (p *publish) complete(c *cobra.Command, d *desk, set *keys.Set) error {
	out, err := d.outDir(p.out)
	if err != nil {
		return err
	}
	dir, now := filepath.Join(out, d.recipe.Name()), time.Now()
	folder := site.PendingDir(dir)
	if _, err := os.Stat(folder); err != nil {
		return withHint(fmt.Errorf("nothing waits for signatures: %w", err), "without --collect a new manifest is made")
	}
	all, err := keys.Collect(set, now, folder)
	if err != nil {
		return err
	}
	origin, err := p.origin(d, dir)
	if err != nil {
		return err
	}
	var stale error
	for _, r := range all {
		if r.Done == "" {
			continue
		}
		result, err := site.Complete(c.Context(), site.CompleteOptions{Dir: dir, Keys: set, File: r.File, Now: now, Origin: origin})
		if !errors.Is(err, site.ErrStale) {
			return p.end(c, published{dir, result}, err)
		}
		d.progress.warn(err)
		stale = err
	}
	printCollected(c.ErrOrStderr(), all)
	if err := stillMissing(all); err != nil {
		return err
	}
	return stale
}

// end reports what was published, or why nothing was.
func (p *publish) end(c *cobra.Command, r published, err error) error {
	switch {
	case errors.Is(err, site.ErrForeign):
		return withHint(err, "--out names another folder")
	case errors.Is(err, site.ErrElsewhere):
		return withHint(err, "to try something, give it a channel of its own in its recipe; if the site has moved, --take-over")
	case errors.Is(err, keys.ErrPending):
		if p.json {
			err = errors.Join(printJSON(c.OutOrStdout(), waiting{r.Site, site.PendingDir(r.Site)}), err)
		}
		return withHint(err, `"farboot keys sign %s/*.json" where the secret keys are, then "farboot publish --collect"; or --secrets names where they lie`, site.PendingDir(r.Site))
	case err != nil:
		return err
	}
	return p.report(c, r)
}

// report prints what was published.
func (p *publish) report(c *cobra.Command, r published) error {
	if p.json {
		return printJSON(c.OutOrStdout(), r)
	}
	rows := [][2]string{
		{"site", r.Site + string(filepath.Separator)},
		{"manifest", fmt.Sprintf("version %d of epoch %d", r.Version, r.Epoch)},
		{"expires", fmt.Sprintf("%s, in %d days: publish again before", r.Expires.Format("2006-01-02 15:04 MST"), int(r.Expires.Sub(r.Issued).Hours()/24))},
		{"trust", fmt.Sprintf("statement %d, epoch %d", r.Statement, r.Epoch)},
		{"objects", fmt.Sprintf("%d, of which %d new (%s)", r.Objects, r.Added, bytesText(r.Bytes))},
	}
	if r.Chunks > 0 {
		rows = append(rows, [2]string{"chunks", fmt.Sprintf("%d new", r.Chunks)})
	}
	if r.Documents > 0 {
		rows = append(rows, [2]string{"documents", fmt.Sprintf("%d, one for each machine", r.Documents)})
	}
	rows = append(rows, fingerprintRows("signed by", r.Signers)...)
	if r.Warning != "" {
		rows = append(rows, [2]string{"warning", r.Warning})
	}
	table(c.OutOrStdout(), rows)
	return nil
}

// siteOptions turns a recipe with its fetched inputs into what is published.
func siteOptions(r *recipe.Recipe, stock *stock.Stock) (site.PublishOptions, error) {
	s := r.Site
	o := site.PublishOptions{
		Product: s.Product, Arch: "amd64", Channel: s.Channel, Default: s.Default, Documents: s.Documents,
		Valid:   time.Duration(*s.ValidDays) * 24 * time.Hour,
		Entries: map[string]manifest.Entry{},
		Menu:    s.Menu.Manifest(), Limits: (*manifest.Limits)(s.Limits),
	}
	for _, m := range s.AllMachines() {
		o.Machines = append(o.Machines, m.Manifest())
	}
	for _, name := range s.EntryNames() {
		e, err := s.Entries[name].Manifest(stock)
		if err != nil {
			return o, err
		}
		o.Entries[name] = e
	}
	if len(s.Files)+len(s.Images) > 0 {
		o.Files = map[string]object.Ref{}
	}
	for name, content := range s.Files {
		ref, err := stock.Object(content)
		if err != nil {
			return o, err
		}
		o.Files[name] = ref
	}
	if err := addImages(&o, s, stock); err != nil {
		return o, err
	}
	o.Objects, o.Trees = stock.Paths(), stock.Trees()
	return o, nil
}

// addImages adds the images of a site, as files by their names.
func addImages(o *site.PublishOptions, s *recipe.Site, stock *stock.Stock) error {
	for _, name := range s.ImageNames() {
		image, err := stock.Chunked(s.Images[name])
		if err != nil {
			return fmt.Errorf("image %q: %w", name, err)
		}
		o.Files[name+recipe.IndexSuffix] = image.Index
		if image.Zst != nil {
			o.Files[name+recipe.FileSuffix], o.Files[name+recipe.TableSuffix] = image.Zst.File, image.Zst.Table
		}
		if image.Castr {
			o.Files[name+recipe.TreeSuffix] = image.Index
		}
		profile, err := stock.Profile(s.Images[name], image.Index)
		if err != nil {
			return fmt.Errorf("image %q: profile: %w", name, err)
		}
		if profile != nil {
			o.Files[name+recipe.ProfileSuffix] = *profile
		}
	}
	return nil
}
