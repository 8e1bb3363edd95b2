package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/medium/inspect"
)

// inspectCommand tells what an image holds.
func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Tell what a finished image holds",
		Long: `inspect reads an image as firmware and kernels do, with other code than it was
written with: boot catalog, partitions, files with their hashes.`,
		Example: "  farboot inspect out/netboot.iso",
		Args:    exactArgs(1, "one image"),
		RunE: func(c *cobra.Command, args []string) error {
			report, err := inspect.File(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), report)
			}
			printReport(c.OutOrStdout(), report)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// printReport prints a report for people.
func printReport(w io.Writer, r *inspect.Report) {
	rows := [][2]string{
		{"volume", r.VolumeID},
		{"epoch", r.Epoch.Format("2006-01-02 15:04:05 MST")},
		{"size", fmt.Sprintf("%d bytes", r.Size)},
		{"disk", r.Disk},
	}
	for _, b := range r.Boot {
		rows = append(rows, [2]string{"boots " + b.Platform, fmt.Sprintf("%s at block %d", b.Path, b.LBA)})
	}
	for _, p := range r.Partitions {
		rows = append(rows, [2]string{"partition", fmt.Sprintf("%s at %d, %s", p.Name, p.Start, bytesText(p.Size))})
	}
	table(w, rows)
	printFiles(w, "files", r.Files)
	printFiles(w, "EFI system partition", r.ESP)
}

// printFiles prints a list of files under a heading.
func printFiles(w io.Writer, heading string, files []inspect.FileEntry) {
	fmt.Fprintf(w, "\n%s\n", heading)
	for _, f := range files {
		fmt.Fprintf(w, "  %s  %9d  %s\n", f.SHA256.String()[:16], f.Size, f.Path)
	}
}
