package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/reports"
)

// machinesCommand shows what machines reported.
func machinesCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "machines [FOLDER]",
		Short: "Show what machines reported of their boots",
		Long: `machines lists the machines whose reports "farboot serve --reports FOLDER" has
kept, out/reports unless a folder is named: when each was heard of last, how far
it came, what it boots, and the code of the last failure on the way, which
docs/troubleshooting.md explains. Whole reports lie in the folder as JSON.

A report is a claim: nobody signs it, and anybody may send one for any machine.`,
		Example: `  farboot machines
  farboot machines out/reports --json`,
		Args: rangeArgs(0, 1, "at most one folder"),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "out/reports"
			if len(args) > 0 {
				dir = args[0]
			}
			all, errs := reports.List(dir)
			if len(all) == 0 && len(errs) > 0 {
				return withHint(errs[0], `"farboot serve SITE --reports %s" keeps reports`, dir)
			}
			for _, err := range errs {
				warnings(c.ErrOrStderr(), []string{err.Error()})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string][]reports.Machine{"machines": append([]reports.Machine{}, all...)})
			}
			return printMachines(c.OutOrStdout(), all, time.Now())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the last report of each machine as JSON")
	return c
}

// printMachines prints one line for each machine, the one heard of last first.
func printMachines(w io.Writer, all []reports.Machine, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no machine has reported yet")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LAST CONTACT\tOUTCOME\tENTRY\tCODE\tMANIFEST\tSTATEMENT\tMEDIUM\tMACHINE")
	for _, m := range all {
		r := m.Report
		fmt.Fprintf(t, "%s ago\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", ago(now.Sub(m.Received)), r.Outcome, dash(r.Entry), dash(r.Code),
			number(r.Version), number(r.Statement), dash(r.Medium), m.ID)
	}
	return t.Flush()
}

// ago prints a span in its largest unit.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// dash stands for what there is none of.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// number prints a count from 1.
func number(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
