package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/burn"
	"github.com/farboot/farboot/payload/flash"
)

// writeFlags are the flags of "farboot write".
type writeFlags struct {
	confirm string
	file    bool
	dry     bool
	data    bool
}

// writeCommand writes an image to a stick or a disk.
func writeCommand() *cobra.Command {
	var f writeFlags
	c := &cobra.Command{
		Use:   "write IMAGE DEVICE",
		Short: "Write an image to a stick or a disk, and read it back",
		Long: `write puts an image on a disk, whatever that held before, and reads it back. The
image is one of farboot's or any other, compressed by xz, zstd or gzip or not at
all. The device is best named under /dev/disk/by-id: those names do not wander.

A disk of which something is mounted or used is refused. For any other the
serial number is asked for, as write shows it; --yes-this-disk says it
beforehand, for scripts. If write is interrupted, nothing boots from the disk;
the same command again goes on where it ended.

--data adds a partition that every computer can write, from the image's end to
the disk's: an agent of this image reads farboot/networks.json there. It takes
an image with a GPT, as farboot's have, and is made anew each time.`,
		Example: `  farboot write out/netboot.iso /dev/disk/by-id/usb-SanDisk_Ultra_4C53-0:0
  farboot write --dry-run out/netboot.iso /dev/sdb
  farboot write --yes-this-disk 4C53 debian.img.xz /dev/sdb`,
		Args: exactArgs(2, "an image and a device"),
		RunE: func(c *cobra.Command, args []string) error { return runWrite(c, f, args[0], args[1]) },
	}
	c.Flags().StringVar(&f.confirm, "yes-this-disk", "", "the serial number of the disk to write, in the place of a question")
	c.Flags().BoolVar(&f.file, "file", false, "the device may be a file, which stands for a disk of its size")
	c.Flags().BoolVar(&f.data, "data", false, "add a partition behind the image, for networks.json and other files of yours")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "check image and device, and write nothing")
	return c
}

// runWrite writes the image at path to a device.
func runWrite(c *cobra.Command, f writeFlags, path, device string) error {
	target, err := findTarget(f, device)
	if err != nil {
		return err
	}
	progress := newProgress(c.ErrOrStderr())
	defer progress.finish()
	progress.step("reading %s", path)
	image, err := burn.Load(c.Context(), path, progress.count)
	if err != nil {
		return err
	}
	size := image.Index.Size()
	progress.step("image    %s, %s", path, bytesText(size))
	progress.step("disk     %s", target.Describe())
	if size > target.Size {
		return fmt.Errorf("%s has %s, and the image %s", target.Node, bytesText(target.Size), bytesText(size))
	}
	if f.data {
		if err := image.CheckData(target); err != nil {
			return withHint(err, "leave out --data: the image itself fits")
		}
	}
	if err := confirmTarget(c, f, target); err != nil || f.dry {
		return err
	}
	stage := ""
	result, err := image.Write(c.Context(), target, func(p flash.Progress) {
		if p.Total > 0 && p.Stage != stage {
			progress.step("%s", map[string]string{"compare": "comparing", "write": "writing", "verify": "reading back"}[p.Stage])
			stage = p.Stage
		}
		if p.Total > 0 {
			progress.count(p.Done, p.Total)
		}
	}, func(format string, args ...any) { progress.step(format, args...) })
	if err != nil {
		return err
	}
	progress.finish()
	fmt.Fprintf(c.OutOrStdout(), "%s: %s written and read back in %.1f s\n", target.Node, bytesText(size), result.Took.Seconds())
	if !f.data {
		return nil
	}
	if size, err = image.AddData(c.Context(), target); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: a partition for data of %s, FAT32\n", target.Node, bytesText(size))
	return nil
}

// findTarget looks the device up.
func findTarget(f writeFlags, device string) (burn.Target, error) {
	target, err := burn.Find(os.DirFS("/sys"), os.DirFS("/proc"), device, f.file)
	switch {
	case err == nil:
		return target, nil
	case errors.Is(err, os.ErrNotExist):
		return burn.Target{}, withHint(err, "is it plugged in? \"ls -l /dev/disk/by-id\" lists disks")
	case errors.Is(err, burn.ErrSystem):
		return burn.Target{}, withHint(err, "unmount what is on it first, if it is the right disk")
	case errors.Is(err, burn.ErrDevice):
		return burn.Target{}, withHint(err, "\"ls -l /dev/disk/by-id\" lists disks; --file takes a file as one")
	}
	return burn.Target{}, err
}

// confirmTarget wants an operator to say that this disk is meant, by flag or on a
// terminal. A dry run only looks whether the flag says so.
func confirmTarget(c *cobra.Command, f writeFlags, target burn.Target) error {
	want := target.Confirm()
	switch {
	case f.confirm == want, f.confirm == "" && f.dry:
		return nil
	case f.confirm != "":
		return fmt.Errorf("--yes-this-disk %q: the disk at %s is %q", f.confirm, target.Node, want)
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return withHint(errors.New("there is no terminal to ask on whether this disk is meant"), "--yes-this-disk %s says so", want)
	}
	if !target.External() && !target.File {
		fmt.Fprintln(c.ErrOrStderr(), "This disk is built in. Whatever is on it will be lost.")
	}
	fmt.Fprintf(c.ErrOrStderr(), "Everything on %s is replaced. To go on, type %s: ", target.Node, want)
	line, err := askLine(c, in)
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != want {
		return fmt.Errorf("%s: left as it is", target.Node)
	}
	return nil
}

// askLine reads what somebody types, until they interrupt.
func askLine(c *cobra.Command, in *os.File) (string, error) {
	typed := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadBytes('\n')
		typed <- answer{line, err}
	}()
	select {
	case a := <-typed:
		return string(a.line), a.err
	case <-c.Context().Done():
		return "", c.Context().Err()
	}
}
