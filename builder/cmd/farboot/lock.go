package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/lock"
)

// lockCommand shows and renews locks.
func lockCommand() *cobra.Command {
	var update, asJSON bool
	c := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Complete, show or renew what a recipe is locked to",
		Long: `lock prints the inputs that the recipe's lock names, making the lock where there
is none. What the recipe names by now is added, what it names no more goes, and
files of the project are taken as they are; packages keep their versions. With
--update all is resolved anew, to the newest packages.

A lock belongs to the inputs of its recipe and to where packages come from.
What else changes in a recipe, titles, machines or comments, leaves it alone.`,
		Example: "  farboot lock recipes/netboot.yaml\n  farboot lock --update recipes/netboot.yaml",
		Args:    exactArgs(1, "one recipe"),
		RunE: func(c *cobra.Command, args []string) error {
			return runLock(c, args[0], update, asJSON)
		},
	}
	c.Flags().BoolVar(&update, "update", false, "resolve all anew, to the newest packages")
	c.Flags().BoolVar(&asJSON, "json", false, "print the lock as JSON")
	return c
}

func runLock(c *cobra.Command, path string, update, asJSON bool) error {
	d, err := openDesk(c, path, "")
	if err != nil {
		return err
	}
	old := previousLock(d.lockPath())
	if old != nil {
		d.options.Previous = old.Archive
	}
	switch {
	case update:
		err = d.renewLock(c.Context())
	case old != nil:
		d.options.Keep = old
		err = d.renewLock(c.Context())
	default:
		err = d.openLock(c.Context())
	}
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), d.lock)
	}
	var rows [][2]string
	for _, in := range d.lock.Inputs {
		rows = append(rows, [2]string{in.Name, describeInput(in, old)})
	}
	table(c.OutOrStdout(), append(rows, [2]string{"epoch", d.lock.Epoch.Format("2006-01-02 15:04:05 MST")}))
	return nil
}

// previousLock returns the lock at path whatever recipe it was made for, since
// an edited recipe is the usual reason to renew: its archive is a floor all the
// same, and its versions are what people compare with. It returns nil where
// there is none, or one that was edited.
func previousLock(path string) *lock.Lock {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var l lock.Lock
	if json.Unmarshal(data, &l) != nil {
		return nil
	}
	old, err := lock.Load(path, l.Recipe)
	if err != nil {
		return nil
	}
	return old
}

// describeInput tells an input's version and size, and what it was before.
func describeInput(in lock.Input, old *lock.Lock) string {
	what := bytesText(in.Size)
	if in.Version != "" {
		what = in.Version + ", " + what
	}
	if old == nil {
		return what
	}
	switch was, known := old.Lookup(in.Name); {
	case !known:
		return what + " (new)"
	case was.Ref != in.Ref && was.Version != in.Version:
		return fmt.Sprintf("%s (was %s)", what, was.Version)
	case was.Ref != in.Ref:
		return what + " (changed)"
	}
	return what
}
