package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/medium/inspect"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/payload/accept"
	agentboot "github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// verifyCommand tells from the desk what machines will make of things.
func verifyCommand() *cobra.Command {
	var v verify
	c := &cobra.Command{
		Use:   "verify IMAGE|NETBOOT|SITE",
		Short: "Tell what a medium accepts, and what media make of a site",
		Long: `verify reads with the agent's own code.

Of a medium, an image or a netboot folder, it tells whom it believes: product,
sites, keys, how many must sign, the floor, and what it makes of clocks.

Of a site it tells what media make of it: how far they follow the statements,
which manifest they accept, who signed it, how old it is, and whether every
object is there. It asks for a medium of each statement in the keys folder that
was built today; --statement picks one, and --medium takes a medium as it is,
however old.

Where a machine would refuse, the exit status is 1, and the error has the code
that the machine would show.`,
		Example: `  farboot verify out/netboot.iso
  farboot verify out/site
  farboot verify out/site --medium out/netboot.iso --now 2029-06-01
  farboot verify out/site --statement 1 --json`,
		Args: exactArgs(1, "one image, netboot folder or site"),
		RunE: func(c *cobra.Command, args []string) error { return v.run(c, args[0]) },
	}
	keysDirFlag(c, &v.dir)
	c.Flags().StringVar(&v.medium, "medium", "", "look at the site with the eyes of this image or netboot folder")
	c.Flags().Int64Var(&v.statement, "statement", 0, "look with the eyes of a medium built at this trust statement")
	c.Flags().StringVar(&v.now, "now", "", "a time to assume, such as 2029-06-01 or 2029-06-01T12:00:00Z (default: the present)")
	c.Flags().BoolVar(&v.json, "json", false, "print the result as JSON")
	return c
}

// verify is one run of "farboot verify".
type verify struct {
	dir, medium, now string
	statement        int64
	json             bool
}

// verified is what "farboot verify" reports.
type verified struct {
	Medium *mediumView  `json:"medium,omitzero"`
	Site   *site.Report `json:"site,omitzero"`
	// Reason is the code that a machine would show; empty if all is well.
	Reason string `json:"reason,omitzero"`
}

func (v *verify) run(c *cobra.Command, path string) error {
	now, err := v.time()
	if err != nil {
		return &usageError{err: err, command: c.CommandPath()}
	}
	if v.medium != "" && v.statement != 0 {
		return &usageError{err: errors.New("--medium and --statement exclude each other: a medium has a statement of its own"), command: c.CommandPath()}
	}
	if !isMedium(path) {
		return v.site(c, path, now)
	}
	if v.medium != "" || v.statement != 0 {
		return &usageError{err: fmt.Errorf("%s is a medium: --medium and --statement go with a site", path), command: c.CommandPath()}
	}
	m, err := readMedium(path, now)
	if err != nil {
		return coded(agentboot.Reason(err), err)
	}
	return v.report(c, verified{Medium: m}, nil)
}

// time returns the time to assume.
func (v *verify) time() (time.Time, error) {
	if v.now == "" {
		return time.Now(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, v.now); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--now %q: want a time such as 2029-06-01 or 2029-06-01T12:00:00Z", v.now)
}

// isMedium tells a medium from a site, whatever else is wrong with either.
func isMedium(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return true
	}
	_, err = os.Stat(filepath.Join(path, inspect.SettingsPath))
	return err == nil
}

// site looks at a site.
func (v *verify) site(c *cobra.Command, dir string, now time.Time) error {
	o := site.VerifyOptions{Dir: dir, Time: clock.Time{Now: now, Trusted: true, Source: "this computer"}}
	var result verified
	var err error
	if v.medium != "" {
		result.Medium, err = v.eyesOf(&o, now)
	} else {
		err = v.eyes(&o)
	}
	if err != nil {
		return err
	}
	report, err := site.Verify(c.Context(), o)
	if err != nil {
		return err
	}
	result.Site = &report
	o.Terms.Arch, o.Terms.Channel, o.Terms.Product = report.Arch, report.Channel, report.Product
	return v.report(c, result, v.refusal(c.Context(), o, report))
}

// eyesOf has the site looked at by the medium that --medium names.
func (v *verify) eyesOf(o *site.VerifyOptions, now time.Time) (*mediumView, error) {
	m, err := readMedium(v.medium, now)
	if err != nil {
		return nil, coded(agentboot.Reason(err), err)
	}
	o.Stores = []*trust.Store{m.store}
	o.Terms = accept.Terms{Product: m.Product, Arch: m.Arch, Channel: m.Channel, Floor: m.Floor, RequireTime: m.RequireTime}
	if !m.trustsTime() {
		o.Time.Trusted, o.Time.Source = false, "a clock that nobody vouches for"
	}
	return m, nil
}

// eyes has the site looked at by media of the statements of the keys folder,
// with what was published as their floor.
func (v *verify) eyes(o *site.VerifyOptions) error {
	set, err := keys.Load(v.dir)
	if errors.Is(err, keys.ErrMissing) {
		return withHint(err, "--dir names the keys folder; --medium looks with the eyes of a medium instead")
	}
	if err != nil {
		return err
	}
	if o.Stores, err = site.Stores(set); err != nil {
		return err
	}
	if n := v.statement; n != 0 {
		if n < 1 || n > int64(len(o.Stores)) {
			return fmt.Errorf("--statement %d: %s has statements 1 to %d", n, v.dir, len(o.Stores))
		}
		o.Stores = o.Stores[n-1 : n]
	}
	published, err := keys.LoadPublished(set.Dir)
	if err != nil {
		return err
	}
	o.Terms.Arch, o.Terms.Channel = claims(o.Dir)
	o.Terms.Floor = published.Floor(o.Terms.Arch, o.Terms.Channel)
	return nil
}

// claims returns what the site's manifest says that it is for. Nobody has to
// have signed that: a site that lies is held against a floor that does not fit.
func claims(dir string) (arch, channel string) {
	var m struct{ Arch, Channel string }
	if data, err := site.Files(dir)(context.Background(), manifest.File, manifest.MaxSize); err == nil {
		_ = json.Unmarshal(data, &m) // what is no JSON is refused later
	}
	return m.Arch, m.Channel
}

// refusal returns why a machine would not boot from the site, or nil.
func (v *verify) refusal(ctx context.Context, o site.VerifyOptions, r site.Report) error {
	for _, store := range o.Stores {
		j := accept.New(store, o.Terms)
		err := j.Walk(ctx, site.Files(o.Dir))
		if err == nil {
			_, err = j.Manifest(ctx, site.Files(o.Dir), o.Time)
		}
		if err != nil {
			return fmt.Errorf("a medium with statement %d refuses %s: %w", store.Statement().Version, o.Dir, err)
		}
	}
	if r.Err != nil {
		return fmt.Errorf("%s: %w", o.Dir, r.Err)
	}
	return nil
}

// report prints what was found and returns the refusal with its code.
func (v *verify) report(c *cobra.Command, result verified, refusal error) error {
	if refusal != nil {
		result.Reason = agentboot.Reason(refusal)
		if errors.Is(refusal, fs.ErrNotExist) {
			result.Reason = "not-found" // what a web server makes of it
		}
		if errors.Is(refusal, object.ErrMismatch) {
			result.Reason = "corrupt"
		}
	}
	if v.json {
		return errors.Join(printJSON(c.OutOrStdout(), result), coded(result.Reason, refusal))
	}
	if result.Medium != nil {
		result.Medium.print(c.OutOrStdout())
	}
	if result.Medium != nil && result.Site != nil {
		fmt.Fprintln(c.OutOrStdout())
	}
	if result.Site != nil {
		printSite(c.OutOrStdout(), result.Site)
	}
	return coded(result.Reason, refusal)
}

// coded adds the code that a machine would show to an error.
func coded(code string, err error) error {
	if err == nil {
		return nil
	}
	return withHint(fmt.Errorf("[%s] %w", code, err), "README.md, %q, says what to do about each code", "When it does not boot")
}

// printSite prints what media make of a site.
func printSite(w io.Writer, r *site.Report) {
	rows := [][2]string{{"site", fmt.Sprintf("%s, %s, channel %s", r.Product, r.Arch, r.Channel)}}
	rows = append(rows, mediaRows(r.Media)...)
	if r.Version > 0 {
		age := time.Duration(r.AgeSeconds) * time.Second
		rows = append(rows, [2]string{"manifest", fmt.Sprintf("version %d of epoch %d, issued %s (%s old), expires %s",
			r.Version, r.Epoch, day(r.Issued), ago(age), day(r.Expires))})
		rows = append(rows, fingerprintRows("signed by", r.Signers)...)
		rows = append(rows, [2]string{"objects", fmt.Sprintf("%d good (%s)", r.Objects, bytesText(r.Bytes))})
	}
	if r.Documents > 0 {
		rows = append(rows, [2]string{"documents", fmt.Sprintf("%d good, one for each machine", r.Documents)})
	}
	for _, text := range r.Doubts {
		rows = append(rows, [2]string{"not verified", text})
	}
	for _, text := range r.Problems {
		if !strings.HasPrefix(text, "medium with statement ") { // said above
			rows = append(rows, [2]string{"problem", text})
		}
	}
	table(w, rows)
}

// mediaRows is a row for each medium; those in a row that do the same share one.
func mediaRows(media []site.Medium) [][2]string {
	var rows [][2]string
	first := int64(0)
	for _, m := range media {
		text := fmt.Sprintf("accepts version %d", m.Version)
		switch {
		case m.Refuses != "":
			text = "refuses: " + m.Refuses
		case m.Reaches != m.Statement:
			text = fmt.Sprintf("follows to %d and accepts version %d", m.Reaches, m.Version)
		}
		if last := len(rows) - 1; last >= 0 && rows[last][1] == text {
			rows[last][0] = fmt.Sprintf("statement %d to %d", first, m.Statement)
			continue
		}
		first = m.Statement
		rows = append(rows, [2]string{fmt.Sprintf("statement %d", first), text})
	}
	return rows
}
