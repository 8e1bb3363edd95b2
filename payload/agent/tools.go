package main

import (
	"context"
	"errors"
	"os"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/state"
)

const (
	// toolboxDir is where toolboxes are mounted.
	toolboxDir = "/run/toolbox"
	// resolvFile names the DNS servers in use, see package network.
	resolvFile = "/etc/resolv.conf"
)

// tools is an open toolbox.
type tools struct {
	*toolbox.Toolbox
	c    *console.Console
	need func(names ...string) // loads drivers
}

// openTools opens a toolbox over an image.
func openTools(ctx context.Context, c *console.Console, need func(names ...string), image *os.File) (boot.Tools, error) {
	t, err := toolbox.Open(ctx, toolbox.Config{
		Image: image, Dir: toolboxDir, Need: need, Resolv: resolvFile, Log: c.Printf,
		Free: hardware.Available(os.DirFS("/proc")),
	})
	if err != nil {
		return nil, err
	}
	if err := toolbox.AnswerKernel(); err != nil {
		c.Printf("hardware: %v", err)
	}
	return tools{t, c, need}, nil
}

// Listen serves what programs in the toolbox ask for.
func (t tools) Listen(h control.Handlers) (boot.Asker, error) {
	return control.Listen(t.Root(), h, t.c.Printf)
}

// Login lets people into the toolbox.
func (t tools) Login(l boot.Login) (boot.Door, error) {
	if err := t.Resolve(); err != nil {
		t.c.Printf("%v", err)
	}
	l.Processes = t.Processes()
	return openDoor(t.c, l)
}

// listDisks lists the machine's disks.
func listDisks(build string) ([]disks.Disk, error) {
	return disks.List(os.DirFS("/sys"), os.DirFS("/proc"), state.PartitionName(build))
}

// writeDisk writes an image to a disk.
func writeDisk(ctx context.Context, need func(names ...string), node string, job flash.Job) (flash.Result, error) {
	disk, err := flash.Open(node)
	if err != nil {
		return flash.Result{}, err
	}
	job.Drivers = func(names ...string) error { need(names...); return nil }
	result, err := flash.Run(ctx, disk, job)
	if err := errors.Join(err, disk.Close()); err != nil {
		return flash.Result{}, err
	}
	return result, nil
}

// Script runs a script in the toolbox.
func (t tools) Script(ctx context.Context, c script.Config) (script.Result, error) {
	if err := t.Resolve(); err != nil {
		t.c.Printf("%v", err)
	}
	c.Processes, c.Root = t.Processes(), t.Root()
	return script.Run(ctx, c)
}
