package main

import (
	"context"
	"os"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/agent/local"
)

// Live makes of the toolbox a system that stays.
func (t tools) Live(ctx context.Context, c live.Config) (boot.Living, error) {
	if err := t.Resolve(); err != nil {
		t.c.Printf("%v", err)
	}
	c.Processes, c.Root, c.Sys, c.Need = t.Processes(), t.Root(), "/sys", t.need
	c.Folders = func(ctx context.Context, dir, name string) ([]local.Folder, error) {
		need := func(name string) error { t.need(name); return nil }
		return local.Folders(ctx, local.Config{Sysfs: os.DirFS("/sys"), Dev: "/dev", Dir: dir, LoadModule: need, Log: t.c.Printf}, name)
	}
	return live.Start(ctx, c)
}
