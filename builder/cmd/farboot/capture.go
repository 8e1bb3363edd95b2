package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/capture"
	"github.com/farboot/farboot/builder/vm/diskfile"
)

// captureCommand makes an image of a disk.
func captureCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "capture DISK NAME",
		Short: "Make an image of a disk that can be published",
		Long: `capture reads a disk and writes NAME.img.zst, which a site's recipe can name for
its flash entries and images, and NAME.caibx, the index of its chunks.

DISK is a raw image, a block device, or ssh://USER@HOST/dev/NAME: a disk of
another machine, as one in a rescue, read by your own ssh. It must not be
mounted.

What is free is not read, and is zeros in the image: by the block bitmaps of
ext2, ext3 and ext4 that were unmounted cleanly, and in swap. All else is read
from end to end. Files keep all that is theirs: leave out what belongs to one
machine first, as docs/vm.md shows.`,
		Example: `  farboot capture server.img out/images/server
  farboot capture /dev/disk/by-id/ata-SAMSUNG_1234 out/images/server
  farboot capture ssh://root@192.0.2.17/dev/sda out/images/server`,
		Args: exactArgs(2, "a disk and a name for the image"),
		RunE: func(c *cobra.Command, args []string) error { return runCapture(c, args[0], args[1], asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// runCapture is one run of "farboot capture".
func runCapture(c *cobra.Command, disk, name string, asJSON bool) (err error) {
	d, err := capture.Open(c.Context(), disk)
	if errors.Is(err, capture.ErrUsed) || errors.Is(err, diskfile.ErrBusy) {
		return withHint(err, "unmount it, or shut the machine down that uses it")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	plan, err := capture.NewPlan(d)
	if err != nil {
		return err
	}
	p := newProgress(c.ErrOrStderr())
	r, err := capture.Write(c.Context(), d, plan, name, p.count)
	p.finish()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), struct {
			capture.Result
			Parts []capture.Part `json:"parts"`
		}{r, plan.Parts})
	}
	rows := [][2]string{
		{"image", fmt.Sprintf("%s (%s)", r.Image, bytesText(r.Packed))},
		{"index", r.Index},
		{"disk", fmt.Sprintf("%s, of which %s were read", bytesText(r.Size), bytesText(r.Read))},
	}
	for _, part := range plan.Parts {
		rows = append(rows, [2]string{partName(part), partText(part)})
	}
	table(c.OutOrStdout(), rows)
	fmt.Fprintf(c.ErrOrStderr(), "farboot: in a site's recipe it is {file: %s}\n", filepath.ToSlash(r.Image))
	return nil
}

// partName names a part of a disk.
func partName(p capture.Part) string {
	if p.Number == 0 {
		return "all of it"
	}
	return fmt.Sprintf("partition %d", p.Number)
}

// partText says what was done with it.
func partText(p capture.Part) string {
	kind := p.Kind
	if kind == "" {
		kind = "unknown"
	}
	text := fmt.Sprintf("%s, %s", kind, bytesText(p.Size))
	if p.Free > 0 {
		text += fmt.Sprintf(", %s free", bytesText(p.Free))
	}
	if p.Why != "" {
		text += "; " + p.Why
	}
	return text
}
