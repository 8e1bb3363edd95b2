package main

import (
	"context"
	"os"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/toolbox"
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
	c *console.Console
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
	return tools{t, c}, nil
}

// Listen serves what programs in the toolbox ask for.
func (t tools) Listen(h control.Handlers) (boot.Asker, error) {
	return control.Listen(t.Root(), h, t.c.Printf)
}

// Script runs a script in the toolbox.
func (t tools) Script(ctx context.Context, c script.Config) (script.Result, error) {
	if err := t.Resolve(); err != nil {
		t.c.Printf("%v", err)
	}
	c.Processes, c.Root = t.Processes(), t.Root()
	return script.Run(ctx, c)
}
