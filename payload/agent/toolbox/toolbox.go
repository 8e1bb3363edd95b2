// Package toolbox makes a small Linux system with tools beside the agent, for
// scripts and for people who log in, and takes it down again without a trace.
//
// [Open] is the main call: it mounts a squashfs read-only over a loop device,
// lays a bounded file system in memory over it, mounts /proc, /sys, /dev, /run
// inside, and puts the agent's own program at /usr/bin/farboot. What is to run in
// it starts through [Toolbox.Processes], which is also the only place in the agent
// where a child is made or waited for.
//
// The package promises that after [Toolbox.Close] no program of the toolbox runs,
// nothing that was mounted in it still is, what was written to disks has left for
// them, and the loop device is free: what comes next may be another kernel, or a
// disk that is written from end to end. Where a dead disk makes that impossible it
// says so, in bounded time.
//
// It is no sandbox. Who works in the toolbox is root on the machine, and may do
// everything that the agent may. The image's bytes are the caller's to verify.
package toolbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNone says that neither the entry nor the medium has a toolbox.
	ErrNone = errors.New("no toolbox")
	// ErrImage says that the image is no squashfs, or is damaged.
	ErrImage = errors.New("the toolbox is no squashfs")
	// ErrDriver says that the kernel cannot mount it: a driver is missing.
	ErrDriver = errors.New("the kernel cannot mount a toolbox")
	// ErrMemory says that too little memory is free.
	ErrMemory = errors.New("not enough memory for a toolbox")
)

const (
	// minUpper is the least that can be written in a toolbox, in bytes. Editors
	// and package tools want a few MB; below this, they fail in odd ways.
	minUpper = 16 << 20
	// appear is how long the nodes of a driver that was just loaded may take.
	appear = 5 * time.Second
	// killing is how long programs may take to end.
	killing = 10 * time.Second
	// unmounting is how long file systems may take to write what they hold. A
	// slow stick takes 5 MB/s, and a gigabyte may wait for it.
	unmounting = 5 * time.Minute
)

// Config says what to make a toolbox of.
type Config struct {
	// Image is a squashfs that was verified, open for reading: in memory, or a
	// file that nobody changes. It stays the caller's, who may close it after
	// [Open].
	Image *os.File
	// Dir is a folder for the mount points. It is made where it is missing.
	Dir string
	// Need loads drivers by name.
	Need func(names ...string)
	// Free is how much memory there is, in bytes, or -1 where that is unknown.
	// Half of it may be filled by what is written in the toolbox.
	Free int64
	// Resolv is the file that names the DNS servers in use.
	Resolv string
	// Log prints one line.
	Log func(format string, args ...any)
}

// Toolbox is a system of tools that can be used.
type Toolbox struct {
	config    Config
	processes *Processes
	loop      *loop
	close     func() error
}

// Open makes a toolbox. With an error, nothing of it is left.
func Open(ctx context.Context, c Config) (*Toolbox, error) {
	upper, err := c.upper()
	if err != nil {
		return nil, err
	}
	if err := checkImage(c.Image); err != nil {
		return nil, err
	}
	if c.Need != nil {
		c.Need("loop", "squashfs", "overlay")
	}
	t := &Toolbox{config: c}
	t.close = sync.OnceValue(t.takeDown)
	if err := t.mount(ctx, upper); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.processes = NewProcesses(t.Root())
	return t, nil
}

// upper returns how many bytes may be written, as tmpfs takes it.
func (c Config) upper() (string, error) {
	switch {
	case c.Free < 0:
		return "50%", nil
	case c.Free/2 < minUpper:
		return "", fmt.Errorf("%w: %d MB are free, want %d", ErrMemory, c.Free>>20, 2*minUpper>>20)
	}
	return fmt.Sprint(c.Free / 2), nil
}

// Environ is what every program in a toolbox finds in its environment.
func Environ() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8",
	}
}

// Root returns the path of the toolbox's root directory.
func (t *Toolbox) Root() string { return filepath.Join(t.config.Dir, "root") }

// Processes returns who starts programs in it.
func (t *Toolbox) Processes() *Processes { return t.processes }

// Resolve tells the toolbox which DNS servers are in use by now.
func (t *Toolbox) Resolve() error {
	data, err := os.ReadFile(t.config.Resolv)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	root, err := os.OpenRoot(t.Root())
	if err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	defer root.Close()
	// It may be a link to a program's file that is not there.
	if err := root.Remove("etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("toolbox: %w", err)
	}
	if err := root.MkdirAll("etc", 0o755); err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	if err := root.WriteFile("etc/resolv.conf", data, 0o644); err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	return nil
}

// Close takes the toolbox down. It may be called more than once, and returns the
// same each time.
func (t *Toolbox) Close() error { return t.close() }

// takeDown ends programs, unmounts, and frees the loop device, in this order.
func (t *Toolbox) takeDown() error {
	var faults []error
	if t.processes != nil {
		faults = append(faults, t.processes.Close(killing))
	}
	faults = append(faults, unmountBelow(t.config.Dir, unmounting, t.config.Log))
	if t.loop != nil {
		faults = append(faults, t.loop.free())
	}
	for _, dir := range []string{"image", "upper", "root", ""} {
		// Never with what is inside: that may be somebody's disk.
		if err := os.Remove(filepath.Join(t.config.Dir, dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("toolbox: cannot be taken down: %w", err)
	}
	return nil
}

// explain gives an error of mount(2) its class.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %w", ErrDriver, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	return err
}
