// Package image finds the image that the machine was started from, on a stick or
// on a CD, and opens files on it.
//
// The agent needs it only where the recipe leaves something on the medium to be
// read on demand; everything else was in memory before the agent began. The call is
// [Image.Open]. It promises that nothing is written to a disk, that an image is
// this medium's by its build id, and that a drive which does not answer costs
// bounded time. The bytes of what it opens are the caller's to verify.
package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long one drive may take: a CD spins up in ten seconds.
	patience = 15 * time.Second
	// volume is where the first descriptor of an ISO 9660 file system lies, in
	// bytes, and identifier how it begins (ECMA-119, 8.4).
	volume     = 16 * 2048
	identifier = "\x01CD001"
)

// Image is the image of the medium, wherever it lies.
type Image struct {
	// Sys and Dev are where sysfs and devtmpfs are mounted.
	Sys, Dev string
	// Dir is the folder that the image is mounted on.
	Dir string
	// Build is the medium's build id: the image has a file boot/<build id>.
	Build string
	// Need loads drivers by name.
	Need func(names ...string)
	// Log prints one line.
	Log func(format string, args ...any)

	mount   func(device, dir string) error // mountISO
	unmount func(dir string) error
	root    *os.Root // of the image, once it is mounted
}

// Open opens a file of the image for reading, by its path from the root, and
// mounts the image before that where it is not. One that is not there, as where the
// machine was started over the network, is fs.ErrNotExist.
func (m *Image) Open(name string) (fs.File, error) {
	if m.root == nil {
		if err := m.find(); err != nil {
			return nil, err
		}
	}
	return m.root.Open(name)
}

// find mounts the image.
func (m *Image) find() error {
	if m.mount == nil {
		m.mount, m.unmount = mountISO, func(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return fmt.Errorf("medium: %w", err)
	}
	m.Need("isofs", "sr_mod")
	for _, device := range m.drives() {
		var root *os.Root
		err := within(patience, device, func() (err error) { root, err = m.try(device); return err })
		if err == nil {
			m.root = root
			m.Log("medium: on %s", device)
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			m.Log("medium: %s: %v", device, err)
		}
	}
	return fmt.Errorf("medium: %w: no drive has the image of build %s", fs.ErrNotExist, m.Build)
}

// drives lists the devices of whole disks and CDs.
func (m *Image) drives() []string {
	var found []string
	class := filepath.Join(m.Sys, "class/block")
	entries, _ := os.ReadDir(class) // none is no drive
	for _, e := range entries {
		_, err := os.Stat(filepath.Join(class, e.Name(), "partition"))
		made := strings.HasPrefix(e.Name(), "loop") || strings.HasPrefix(e.Name(), "ram") || strings.HasPrefix(e.Name(), "zram")
		if errors.Is(err, fs.ErrNotExist) && !made {
			found = append(found, filepath.Join(m.Dev, e.Name()))
		}
	}
	return found
}

// try mounts a device if it holds the image. What it does not hold is
// fs.ErrNotExist.
func (m *Image) try(device string) (*os.Root, error) {
	f, err := os.Open(device)
	if errors.Is(err, unix.ENOMEDIUM) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(identifier))
	_, err = f.ReadAt(head, volume)
	f.Close()
	switch {
	case errors.Is(err, io.EOF) || err == nil && string(head) != identifier:
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, err
	}
	if err := m.mount(device, m.Dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(m.Dir)
	if err == nil {
		if _, err = root.Stat("boot/" + m.Build); err == nil {
			return root, nil
		}
		root.Close()
	}
	return nil, errors.Join(err, m.unmount(m.Dir))
}

// mountISO mounts an ISO 9660 file system.
func mountISO(device, dir string) error {
	return unix.Mount(device, dir, "iso9660", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// within calls do and waits that long for it.
func within(limit time.Duration, device string, do func() error) error {
	done := make(chan error, 1)
	guard.Go("looking at "+device, do, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("no answer after %.0f s", limit.Seconds())
	}
}
