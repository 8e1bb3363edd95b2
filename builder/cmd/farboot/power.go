package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/power"
	"github.com/farboot/farboot/builder/recipe"
)

// powerCommand switches machines.
func powerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "power",
		Short: "Switch machines on and off from afar",
		Long: `power talks to the controllers of machines, as "power:" of a site's recipe says:
Redfish, IPMI, Intel AMT, Wake-on-LAN, or a program of yours. Machines are named
as in the recipe: by name, by group, or by MAC address, UUID or serial number.

Many are talked to at the same time. One line tells what became of each, and if
one failed so does the command. Nothing asks what runs on a machine: off is as
pulling the plug. docs/power.md has all of it.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		switchCommand("status", "Tell which machines are on", "asks the controllers whether their machines are on."),
		switchCommand("on", "Switch machines on", "switches on what is off."),
		switchCommand("off", "Switch machines off, at once", "switches off at once, as pulling the plug does."),
		switchCommand("cycle", "Switch machines off and on again", "switches off and on again; what is off is switched on."),
		switchCommand("reset", "Reset machines", "resets what is on, as the reset button does. A machine that is off fails."),
		bootNextCommand(),
	)
	return c
}

// powerFlags are the flags of all verbs of "farboot power".
type powerFlags struct {
	recipe    string
	parallel  int
	dry, json bool
	confirm   int
}

func (f *powerFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.recipe, "recipe", "", "the site's recipe (default: the only one in recipes/ with \"power:\")")
	c.Flags().IntVar(&f.parallel, "parallel", power.Limit, "how many controllers to talk to at the same time")
	c.Flags().BoolVar(&f.json, "json", false, "print the results as JSON")
}

// switchCommand makes the verb of an action, or of asking.
func switchCommand(verb, short, what string) *cobra.Command {
	var f powerFlags
	long := verb + " " + what
	c := &cobra.Command{
		Use:     verb + " MACHINE...",
		Short:   short,
		Example: "  farboot power " + verb + " room-4-01\n  farboot power " + verb + " room-4 --recipe recipes/room.yaml",
		Args:    rangeArgs(1, 10_000, "machines or groups"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c, verb, args, func(ctx context.Context, t power.Target) (power.State, error) {
				if verb == "status" {
					return t.Driver.State(ctx)
				}
				return "", power.Switch(ctx, t.Driver, power.Action(verb))
			})
		},
	}
	f.add(c)
	if verb != "status" {
		c.Flags().BoolVar(&f.dry, "dry-run", false, "show what would be done, and talk to no controller")
	}
	if harsh(verb) {
		long += `
Where that is more than one machine the number is asked for; --yes-machines says
it beforehand, for scripts: a group that has grown is not switched by mistake.`
		c.Flags().IntVar(&f.confirm, "yes-machines", 0, "how many machines are meant, in the place of a question")
	}
	c.Long = long
	return c
}

// bootNextCommand sets what machines start from.
func bootNextCommand() *cobra.Command {
	var f powerFlags
	c := &cobra.Command{
		Use:   "boot-next DEVICE MACHINE...",
		Short: "Set what machines start from, the next time only",
		Long: `boot-next sets what machines start from the next time, and only then: pxe, http
(UEFI's HTTP boot), disk or cd. Switch them soon: IPMI forgets it in a minute.`,
		Example: `  farboot power boot-next pxe room-4-01
  farboot power boot-next disk room-4 --dry-run`,
		Args: rangeArgs(2, 10_000, "a device, and machines or groups"),
		RunE: func(c *cobra.Command, args []string) error {
			device := power.Device(args[0])
			if !slices.Contains(power.Devices(), device) {
				return &usageError{fmt.Errorf("boot-next: device %q is not one of %s", args[0], deviceList()), c.CommandPath()}
			}
			return f.run(c, "boot-next "+args[0], args[1:], func(ctx context.Context, t power.Target) (power.State, error) {
				return "", t.Driver.BootNext(ctx, device)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.dry, "dry-run", false, "show what would be done, and talk to no controller")
	return c
}

func deviceList() string {
	var all []string
	for _, d := range power.Devices() {
		all = append(all, string(d))
	}
	return strings.Join(all, ", ")
}

// harsh tells whether a verb ends what runs on a machine.
func harsh(verb string) bool { return verb == "off" || verb == "cycle" || verb == "reset" }

// run does something to all machines that words mean, and tells of each.
func (f *powerFlags) run(c *cobra.Command, verb string, words []string, do func(context.Context, power.Target) (power.State, error)) error {
	if f.parallel < 1 {
		return &usageError{errors.New("power: --parallel wants 1 or more"), c.CommandPath()}
	}
	r, err := f.load()
	if err != nil {
		return err
	}
	targets, err := findMachines(r, words)
	if err != nil {
		return err
	}
	if f.dry {
		do = func(context.Context, power.Target) (power.State, error) { return "", nil }
	} else if harsh(verb) && len(targets) > 1 {
		if err := confirmMachines(c, verb+" ends what runs on", f.confirm, targets); err != nil {
			return err
		}
	}
	results := power.All(c.Context(), targets, f.parallel, do)
	if c.Context().Err() != nil {
		return errors.Join(f.print(c.OutOrStdout(), verb, results), c.Context().Err())
	}
	return errors.Join(f.print(c.OutOrStdout(), verb, results), failures("power "+verb, results))
}

// load reads the recipe that the flag names, or the only one that knows how to
// switch machines.
func (f *powerFlags) load() (*recipe.Recipe, error) {
	if f.recipe != "" {
		return loadSite(f.recipe)
	}
	names, err := filepath.Glob("recipes/*.yaml")
	if err != nil {
		return nil, err
	}
	var found []*recipe.Recipe
	var paths []string
	for _, name := range names {
		r, err := recipe.Load(name)
		if err != nil || r.Kind != recipe.KindSite || !slices.ContainsFunc(r.Site.AllMachines(), func(m recipe.Machine) bool { return m.Power != nil }) {
			continue // whoever wants it names it, and hears what is wrong with it
		}
		found, paths = append(found, r), append(paths, name)
	}
	switch len(found) {
	case 0:
		return nil, withHint(&usageError{err: errors.New(`no recipe in recipes/ has machines with "power:"`), command: "farboot power"}, "--recipe names another; docs/power.md shows how")
	case 1:
		return found[0], nil
	}
	return nil, withHint(&usageError{err: fmt.Errorf(`several recipes have machines with "power:": %s`, strings.Join(paths, ", ")), command: "farboot power"}, "--recipe names one")
}

// loadSite reads the recipe of a site.
func loadSite(path string) (*recipe.Recipe, error) {
	r, err := recipe.Load(path)
	if err != nil {
		return nil, err
	}
	if r.Kind != recipe.KindSite {
		return nil, &recipe.Error{Path: path, Line: kindLine(r.Raw), Field: "kind", Msg: fmt.Sprintf("%q, want %q", r.Kind, recipe.KindSite), Hint: "machines stand in the recipe of a site"}
	}
	return r, nil
}

// findMachines returns what words mean in a recipe.
func findMachines(r *recipe.Recipe, words []string) ([]power.Target, error) {
	targets, err := power.Targets(r, words)
	if unknown, ok := errors.AsType[*power.UnknownError](err); ok {
		err = fmt.Errorf("%s: %w", r.Path, err)
		if len(unknown.Known) > 0 {
			err = withHint(err, "there are %s", strings.Join(unknown.Known[:min(len(unknown.Known), 20)], ", "))
		}
		return nil, err
	}
	return targets, err
}

// confirmMachines wants an operator to say that so many machines are meant; what is
// what happens to them.
func confirmMachines(c *cobra.Command, what string, said int, targets []power.Target) error {
	if said == len(targets) {
		return nil
	}
	if said != 0 {
		return withHint(fmt.Errorf("--yes-machines %d: there are %d", said, len(targets)), "--dry-run shows which")
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return withHint(fmt.Errorf("%s %s, and there is no terminal to ask on", what, count(len(targets))), "--dry-run shows which; --yes-machines %d says that %s meant", len(targets), plural(len(targets), "it is", "they are"))
	}
	var names []string
	for _, t := range targets[:min(len(targets), 40)] {
		names = append(names, t.Label)
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s\n%s %s. To go on, type %d: ", strings.Join(names, " "), what, count(len(targets)), len(targets))
	line, err := askLine(c, in)
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != strconv.Itoa(len(targets)) {
		return errors.New("nothing is switched")
	}
	return nil
}

// count counts machines.
func count(n int) string { return fmt.Sprintf("%d %s", n, plural(n, "machine", "machines")) }

// plural chooses a word for one, or for more.
func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// powerResult is what became of one machine, for programs.
type powerResult struct {
	Machine string `json:"machine"`
	Group   string `json:"group,omitzero"`
	Driver  string `json:"driver,omitzero"`
	Address string `json:"address,omitzero"`
	State   string `json:"state,omitzero"`
	// Class is "password", "certificate", "dead", "slow", "unsupported" or
	// "failed", where Error is set.
	Class string `json:"class,omitzero"`
	Error string `json:"error,omitzero"`
}

// powerClass names the class of an error, for programs.
func powerClass(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{nil, ""}, {power.ErrPassword, "password"}, {power.ErrCertificate, "certificate"}, {power.ErrDead, "dead"},
		{power.ErrSlow, "slow"}, {power.ErrUnsupported, "unsupported"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "failed"
}

// print prints one line for each machine.
func (f *powerFlags) print(w io.Writer, verb string, results []power.Result) error {
	list := []powerResult{}
	for _, r := range results {
		p := powerResult{Machine: r.Label, Group: r.Group, State: string(r.State), Class: powerClass(r.Err)}
		if r.Power != nil {
			p.Driver, p.Address = r.Power.Driver, r.Power.Address
		}
		if r.Err != nil {
			p.Error = r.Err.Error()
		}
		list = append(list, p)
	}
	if f.json {
		return printJSON(w, map[string]any{"action": verb, "dry_run": f.dry, "machines": list})
	}
	done := verb + ": done"
	if f.dry {
		done = "would be: " + verb
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tGROUP\tDRIVER\tADDRESS\tRESULT")
	for _, p := range list {
		said := cmp.Or(p.State, done)
		if p.Error != "" {
			said = "FAILED: " + p.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Machine, dash(p.Group), dash(p.Driver), dash(p.Address), said)
	}
	return t.Flush()
}

// failures is the error of a command of which something failed: it names each
// machine, and helps with the first.
func failures(what string, results []power.Result) error {
	var names []string
	var first error
	for _, r := range results {
		if r.Err != nil {
			names = append(names, r.Label)
			first = cmp.Or(first, r.Err)
		}
	}
	if first == nil {
		return nil
	}
	err := fmt.Errorf("%s: %d of %d machines failed: %s", what, len(names), len(results), strings.Join(names, ", "))
	if hint := power.Hint(first); hint != "" {
		return withHint(err, "%s: %s", names[0], hint)
	}
	return err
}
