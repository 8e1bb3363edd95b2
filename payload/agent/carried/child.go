package carried

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/carry"
)

// ready is what the child says when the device answers.
const ready = "ready"

// Where the child finds its files, by number.
const (
	kmsgFile  = 2 // what the runtime says of a crash goes there as well
	readyFile = 3
)

// startChild starts the child, in a session and among mounts of its own, and returns
// when the device answers, or when the child has ended.
func startChild(kmsg *os.File) error {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	child, err := os.StartProcess("/proc/self/exe", []string{carry.Name}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, kmsg, kmsg, w},
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS},
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("the server of the image does not start: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(r, int64(len(ready))))
	if bytes.Equal(said, []byte(ready)) {
		return errors.Join(err, child.Release())
	}
	state, waited := child.Wait()
	return errors.Join(fmt.Errorf("the server of the image has ended: %v", state), err, waited)
}

// ownRoot gives this process, which is among mounts of its own, a root file system of
// its own: memory, with the kernel's file systems and with these files. What happens
// to the folders of the initramfs takes nothing from it.
func ownRoot(dir string, files map[string][]byte) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size=4m"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, sub := range []string{"/etc/ssl/certs", "/tmp"} {
		if err := os.MkdirAll(dir+sub, 0o700); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(dir+name, data, 0o600); err != nil {
			return err
		}
	}
	for _, k := range kernelMounts {
		if err := os.Mkdir(dir+k.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(k.kind, dir+k.dir, k.kind, unix.MS_NOSUID, ""); err != nil {
			return fmt.Errorf("mount %s: %w", k.dir, err)
		}
	}
	// As switch_root(8) does: pivot_root(2) refuses where the root is rootfs.
	for _, step := range []func() error{
		func() error { return unix.Chdir(dir) },
		func() error { return unix.Mount(dir, "/", "", unix.MS_MOVE, "") },
		func() error { return unix.Chroot(".") },
		func() error { return unix.Chdir("/") },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("a root of its own: %w", err)
		}
	}
	return nil
}
