package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/cast"
	"github.com/farboot/farboot/builder/clone"
	"github.com/farboot/farboot/builder/power"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/payload/manifest"
)

// cloneCommand starts a room into an image.
func cloneCommand() *cobra.Command {
	f := cloning{limits: clone.DefaultLimits()}
	c := &cobra.Command{
		Use:   "clone RECIPE --machines GROUP",
		Short: "Start a room of machines, have them write an image, and start that",
		Long: `clone does what it takes to bring machines to an image, from wherever they are:
their controllers ("power:" in the site's recipe) are told to start from the
network, a CD or a disk, next time only, and switch them on or reset them; the
medium there asks the site, which says that the disk is to be written; an image
with "cast:" is sent by multicast meanwhile; and machines that its entry leaves
waiting, or off, are started from their disk.

The site is published before, and its medium reports: clone follows the reports
in a folder that "farboot serve --reports" fills, or serves the site itself with
--listen. It ends when each machine is done or has failed, names those that have,
and goes on where it ended if it is called again: disks that hold the image are
left alone.`,
		Example: `  farboot clone recipes/room.yaml --machines room-4 --listen :80
  farboot clone recipes/room.yaml --machines room-4-01,room-4-02 --boot http
  farboot clone recipes/room.yaml --machines room-4 --dry-run`,
		Args: exactArgs(1, "one recipe"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	f.add(c)
	return c
}

// cloning is one run of "farboot clone".
type cloning struct {
	powerFlags
	machines              []string
	boot                  string
	site, listen, reports string
	nic, rate             string
	ttl                   int
	limits                clone.Limits
	found                 *recipe.Recipe
	entries               map[string][]string // flash entry -> machines
	targets               []power.Target
}

func (f *cloning) add(c *cobra.Command) {
	s := c.Flags()
	s.StringSliceVar(&f.machines, "machines", nil, "machines and groups, as the recipe calls them")
	s.StringVar(&f.boot, "boot", string(power.PXE), "what they start from: pxe, http, disk, cd, or \"usual\" to leave it as it is")
	s.StringVar(&f.site, "site", "", "the published site (default: out/NAME of the recipe)")
	s.StringVar(&f.listen, "listen", "", "serve the site here meanwhile, and take reports")
	s.StringVar(&f.reports, "reports", "out/reports", "the folder with the machines' reports")
	s.DurationVar(&f.limits.Silence, "silence", f.limits.Silence, "give a machine up that says nothing for so long")
	s.DurationVar(&f.limits.Total, "total", f.limits.Total, "give up after so long")
	s.IntVar(&f.limits.Parallel, "parallel", f.limits.Parallel, "how many controllers to talk to at the same time")
	s.StringVar(&f.nic, "interface", "", "network card for a cast (default: the one that the route leads to)")
	s.IntVar(&f.ttl, "ttl", 1, "how many networks a cast's packets may enter")
	s.StringVar(&f.rate, "rate", "", "rate of a cast, such as 300Mbit (default: what the room takes)")
	s.IntVar(&f.confirm, "yes-machines", 0, "how many machines are meant, in the place of a question")
	s.BoolVar(&f.dry, "dry-run", false, "show what would be done, and talk to no controller")
	s.BoolVar(&f.json, "json", false, "print what became of the machines as JSON")
}

func (f *cloning) run(c *cobra.Command, path string) error {
	if err := f.check(path); err != nil {
		return err
	}
	if f.dry {
		return f.plan(c.OutOrStdout())
	}
	if err := f.published(); err != nil {
		return err
	}
	if err := confirmMachines(c, "clone writes the disk of", f.confirm, f.targets); err != nil {
		return err
	}
	casts, done, err := f.casts(c.ErrOrStderr())
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	if err := f.serve(ctx, cancel, c.ErrOrStderr()); err != nil {
		return err
	}
	o := clone.Options{
		Device: power.Device(f.boot), Reports: f.reports, Casts: casts, Limits: f.limits,
		Then:     func(entry string) string { return f.found.Site.Entries[entry].Flash.Then },
		Progress: follow(c.ErrOrStderr()),
		Log: func(format string, args ...any) {
			fmt.Fprintf(c.ErrOrStderr(), "farboot: warning: "+format+"\n", args...)
		},
	}
	if f.boot == "usual" {
		o.Device = ""
	}
	room, err := clone.Run(ctx, f.targets, o)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	if room == nil {
		return withHint(err, `"farboot serve SITE --reports %s" keeps reports, or --listen does it here`, f.reports)
	}
	return errors.Join(f.printRoom(c.OutOrStdout(), room), namesFailed(room, err))
}

// check loads the recipe, finds the machines and looks whether each has a disk to
// write.
func (f *cloning) check(path string) (err error) {
	if f.boot != "usual" && !slices.Contains(power.Devices(), power.Device(f.boot)) {
		return &usageError{fmt.Errorf("clone: --boot %q is not one of %s, usual", f.boot, deviceList()), "farboot clone"}
	}
	if len(f.machines) == 0 {
		return &usageError{errors.New("clone: --machines says which"), "farboot clone"}
	}
	if f.limits.Parallel < 1 || f.limits.Silence <= 0 || f.limits.Total <= 0 || f.ttl < 1 || f.ttl > 255 {
		return &usageError{errors.New("clone: --parallel, --silence, --total and --ttl want more than 0"), "farboot clone"}
	}
	if f.found, err = loadSite(path); err != nil {
		return err
	}
	if f.targets, err = findMachines(f.found, f.machines); err != nil {
		return err
	}
	if f.site == "" {
		f.site = filepath.Join(f.found.Dir, "out", f.found.Name())
	}
	f.entries = map[string][]string{}
	for i, t := range f.targets {
		entry := f.flashes(t)
		if entry == "" {
			f.targets[i].Driver, f.targets[i].Err = nil, errors.New("none of its entries writes a disk")
			continue
		}
		f.entries[entry] = append(f.entries[entry], t.Label)
	}
	if len(f.entries) == 0 {
		return withHint(fmt.Errorf("%s: no entry of these machines writes a disk", path), `an entry with "flash:", before all others in their lists`)
	}
	return nil
}

// flashes returns the first entry of a machine that writes a disk, or "".
func (f *cloning) flashes(t power.Target) string {
	for _, name := range t.Boot {
		if f.found.Site.Entries[name].Flash != nil {
			return name
		}
	}
	return ""
}

// plan shows what would be done.
func (f *cloning) plan(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tDRIVER\tADDRESS\tSTARTS FROM\tWRITES")
	var results []power.Result
	for _, target := range f.targets {
		driver, address := "-", "-"
		if target.Power != nil {
			driver, address = target.Power.Driver, dash(target.Power.Address)
		}
		says := dash(f.flashes(target))
		if target.Err != nil {
			says = "FAILED: " + target.Err.Error()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", target.Label, driver, address, f.boot, says)
		results = append(results, power.Result{Target: target, Err: target.Err})
	}
	return errors.Join(t.Flush(), failures("clone", results))
}

// published wants a site that has the entries: machines read it, and not the recipe.
func (f *cloning) published() error {
	hint := fmt.Sprintf(`"farboot publish %s" does it`, f.found.Path)
	data, err := os.ReadFile(filepath.Join(f.site, manifest.File))
	if err != nil {
		return withHint(fmt.Errorf("the site is not published: %w", err), "%s", hint)
	}
	var m struct { // whether it is signed, and well formed, is the machines' to judge
		Entries map[string]struct {
			Flash *struct{} `json:"flash"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("%s: %w", f.site, err)
	}
	for name := range f.entries {
		if m.Entries[name].Flash == nil {
			return withHint(fmt.Errorf("%s: the published manifest has no entry %q that writes a disk", f.site, name), "%s", hint)
		}
	}
	return nil
}

// casts opens the images that are to be sent by multicast.
func (f *cloning) casts(log io.Writer) (all []func(context.Context) error, done func(), err error) {
	var open []io.Closer
	done = func() {
		for _, c := range open {
			c.Close() // it was read
		}
	}
	rate, err := parseRate(f.rate)
	if err != nil {
		return nil, nil, &usageError{err, "farboot clone"}
	}
	for name, machines := range f.entries {
		if f.found.Site.Entries[name].Flash.Cast == nil {
			continue
		}
		src, err := cast.OpenSite(f.site, name)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("cast: %w", err)
		}
		open = append(open, src)
		all = append(all, func(ctx context.Context) error {
			_, err := cast.Cast(ctx, src, cast.Options{
				NIC: f.nic, TTL: f.ttl, Rate: rate, Machines: len(machines), Wait: f.limits.Silence, Limits: cast.DefaultLimits(),
				Log:      func(format string, args ...any) { fmt.Fprintf(log, "cast: "+format+"\n", args...) },
				Progress: func(cast.Room) {},
			})
			return err
		})
	}
	return all, done, nil
}

// serve serves the site and takes reports until ctx ends, where that is asked for.
// That it fails ends everything.
func (f *cloning) serve(ctx context.Context, fail context.CancelCauseFunc, log io.Writer) error {
	if f.listen == "" {
		return nil
	}
	store, err := reportStore(f.reports, f.site)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	fmt.Fprintf(log, "serving %s on http://%s/\n", f.site, ln.Addr())
	go func() {
		h := store.Handler(site.Handler(f.site, io.Discard), io.Discard)
		if err := site.ServeHandler(ctx, ln, h); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("serve %s: %w", f.site, err))
		}
	}()
	return nil
}

// follow returns what shows a room while it changes: on a terminal as one table,
// elsewhere as a line for each change.
func follow(w io.Writer) func([]clone.Machine) {
	file, ok := w.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	lines := 0
	shown := map[string]string{}
	return func(room []clone.Machine) {
		if terminal {
			if lines > 0 {
				fmt.Fprintf(w, "\x1b[%dA\x1b[J", lines)
			}
			lines = len(room)
		}
		for _, m := range room {
			text := fmt.Sprintf("%-16s %-8s %.50s", m.Label, m.Stage, m.Text)
			if terminal || shown[m.Label] != text {
				fmt.Fprintln(w, strings.TrimRight(text, " "))
			}
			shown[m.Label] = text
		}
	}
}

// cloneResult is what became of one machine, for programs.
type cloneResult struct {
	Machine string  `json:"machine"`
	Group   string  `json:"group,omitzero"`
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
	Text    string  `json:"text,omitzero"`
	Class   string  `json:"class,omitzero"`
}

// printRoom prints what became of the room.
func (f *cloning) printRoom(w io.Writer, room []clone.Machine) error {
	if f.json {
		list := []cloneResult{}
		for _, m := range room {
			r := cloneResult{Machine: m.Label, Group: m.Group, Stage: string(m.Stage), Seconds: m.Took.Seconds(), Text: m.Text}
			if m.Err != nil {
				r.Class = powerClass(m.Err)
			}
			list = append(list, r)
		}
		return printJSON(w, map[string][]cloneResult{"machines": list})
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tRESULT\tTOOK\tTEXT")
	for _, m := range room {
		result := string(m.Stage)
		if m.Err != nil {
			result = "FAILED"
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f s\t%s\n", m.Label, result, m.Took.Seconds(), m.Text)
	}
	return t.Flush()
}

// namesFailed puts the names of those that failed into the error.
func namesFailed(room []clone.Machine, err error) error {
	if !errors.Is(err, clone.ErrRoom) {
		return err
	}
	var results []power.Result
	var silent, cannot bool
	for _, m := range room {
		results = append(results, power.Result{Target: m.Target, Err: m.Err})
		silent = silent || errors.Is(m.Err, clone.ErrSilent)
		cannot = cannot || errors.Is(m.Err, power.ErrUnsupported)
	}
	err = failures("clone", results)
	switch {
	case silent:
		return withHint(err, `a medium reports where its recipe has "report: [site]", to a server with --reports`)
	case cannot:
		return withHint(err, "--boot usual leaves to the firmware what machines start from")
	}
	return err
}
