// Package guest runs a command inside of a disk image: it boots the image's disk in a
// virtual machine with a kernel and an agent of its own, where the agent finds the root
// file system and runs the command in it as root.
//
// [Build] makes kernel and initramfs, [Run] does the rest:
//
//	machine, err := guest.Build(ctx, guest.Parts{...})
//	result, err := guest.Run(ctx, guest.Config{Machine: machine, Image: "disk.img", Args: []string{"apt-get", "-y", "upgrade"}})
//
// It promises that the image is read and never written: the machine has a copy of it
// (a reflink where the file system can), and what comes out appears under its name in one
// step, complete and on the disk, or not at all. [Config.Commit] puts that in the image's
// own place. Interrupts, power cuts, a failing command and a full disk leave what was
// there. Nothing needs root, a mount or a loop device at the desk.
//
// The image's programs are no more trusted than QEMU's borders are strong. Images that
// name other files of the desk (qcow2 with a backing or data file) are refused. Encrypted
// disks, LVM and RAID are not opened.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/farboot/farboot/payload/vmagent/wire"
)

// Config says what to run, and where.
type Config struct {
	// Machine is what [Build] made.
	Machine Machine
	// Image is the disk image: raw or qcow2.
	Image string

	// One of these says what becomes of what was changed: nothing is kept; it takes the
	// place of the image; it goes to a new file, of the image's format.
	Discard, Commit bool
	Snapshot        string
	// KeepAlways keeps it whatever the command's exit status. Otherwise it must be 0.
	KeepAlways bool

	// Args is the command; none is a shell.
	Args []string
	// Env is added to what every program finds there, as NAME=VALUE.
	Env []string
	// Partition has the root file system. 0 is the only one with an os-release.
	Partition int
	// NoFstab mounts the root file system alone, and not what its fstab lists.
	NoFstab bool

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal gives the command a terminal of that size, and Resize says that it has
	// another. Input and output are the terminal's then.
	Terminal *wire.Size
	Resize   <-chan wire.Size

	// Memory is in MiB, default 1024; CPUs default 1.
	Memory, CPUs int
	// Offline leaves the machine without a network.
	Offline bool
	// NoKVM emulates, even where there is hardware virtualisation.
	NoKVM bool
}

// Result is how a command ended.
type Result struct {
	// Status is its exit status; 128 and more are signals, as in a shell.
	Status int
	// File is what was written; empty where nothing was kept.
	File string
}

// ErrGuest is wrapped by the errors of the machine: it did not start, it found no root
// file system, or it went away.
var ErrGuest = errors.New("virtual machine")

// Run runs the command. An error means that nothing was kept.
func Run(ctx context.Context, c Config) (Result, error) {
	w, err := openWork(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	s, err := boot(ctx, c, w)
	if err != nil {
		return Result{}, err
	}
	defer s.stop()
	status, err := s.run(ctx, c)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Result{}, err
	}
	result := Result{Status: status}
	if c.Discard || status != 0 && !c.KeepAlways {
		return result, nil
	}
	if err := w.keep(); err != nil {
		return Result{}, fmt.Errorf("%s: %w", w.target, err)
	}
	result.File = w.target
	return result, nil
}
