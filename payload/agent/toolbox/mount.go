package toolbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// agentName is where programs in the toolbox find the agent, below the root.
const agentName = "usr/bin/farboot"

// modulesDir is where the kernel's modules lie, as on every Linux.
const modulesDir = "/lib/modules"

// inside are the kernel's file systems in the toolbox. Where must is false, it is
// of use without: not every machine has firmware with variables.
var inside = []struct {
	kind, dir string
	flags     uintptr
	data      string
	must      bool
}{
	{"proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"sysfs", "sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"efivarfs", "sys/firmware/efi/efivars", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"devtmpfs", "dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755", true},
	{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", true},
	{"tmpfs", "dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=16m", true},
	{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=16m", true},
}

// links are what programs expect in /dev, and udev makes elsewhere.
var links = map[string]string{
	"dev/fd":     "/proc/self/fd",
	"dev/stdin":  "/proc/self/fd/0",
	"dev/stdout": "/proc/self/fd/1",
	"dev/stderr": "/proc/self/fd/2",
}

// mount mounts everything, in order.
func (t *Toolbox) mount(ctx context.Context, upper string) error {
	dir := t.config.Dir
	image, over := filepath.Join(dir, "image"), filepath.Join(dir, "upper")
	for _, d := range []string{image, over, t.Root()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("toolbox: %w", err)
		}
	}
	var err error
	if t.loop, err = attach(ctx, t.config.Image); err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	if err := unix.Mount(t.loop.name, image, "squashfs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) {
			err = fmt.Errorf("%w: %w", ErrImage, err)
		}
		return fmt.Errorf("toolbox: squashfs: %w", explain(err))
	}
	if err := mountTmpfs(over, upper); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/files,workdir=%s/work", image, over, over)
	if err := unix.Mount("toolbox", t.Root(), "overlay", unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("toolbox: overlay: %w", explain(err))
	}
	return t.furnish()
}

// mountTmpfs mounts memory for what is written, at most size.
func mountTmpfs(dir, size string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "mode=0755,size="+size); err != nil {
		return fmt.Errorf("toolbox: tmpfs: %w", explain(err))
	}
	for _, sub := range []string{"files", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("toolbox: %w", err)
		}
	}
	return nil
}

// furnish mounts the kernel's file systems in the toolbox, the agent's program
// and modules, and makes the files that belong to this machine.
func (t *Toolbox) furnish() error {
	root, err := os.OpenRoot(t.Root())
	if err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	defer root.Close()
	for _, m := range inside {
		err := mountIn(root, m.dir, func(target string) error {
			return unix.Mount(m.kind, target, m.kind, m.flags, m.data)
		})
		if err != nil && m.must {
			return fmt.Errorf("toolbox: %s on /%s: %w", m.kind, m.dir, explain(err))
		}
	}
	for name, to := range links {
		if err := root.Symlink(to, name); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("toolbox: %w", err)
		}
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"tmp", 0o777 | os.ModeSticky}, {"root", 0o700}, {"mnt", 0o755}} {
		err := root.MkdirAll(d.name, 0o755)
		if err == nil {
			err = root.Chmod(d.name, d.mode)
		}
		if err != nil {
			return fmt.Errorf("toolbox: %w", err)
		}
	}
	if err := bindAgent(root); err != nil {
		return fmt.Errorf("toolbox: /%s: %w", agentName, err)
	}
	if err := bindModules(root); err != nil {
		return fmt.Errorf("toolbox: %s: %w", modulesDir, err)
	}
	return t.Resolve()
}

// mountIn makes a folder in the toolbox and mounts something on it. Links in the
// image lead to where they would for a program inside: os.Root follows them, and
// mount(2) gets the folder that it found, by number.
func mountIn(root *os.Root, name string, mount func(target string) error) error {
	if err := root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return mountOn(root, name, mount)
}

// mountOn mounts on a file or folder that is there.
func mountOn(root *os.Root, name string, mount func(target string) error) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// bindAgent lays the agent's program over a file in the toolbox.
func bindAgent(root *os.Root) error {
	if err := root.MkdirAll(filepath.Dir(agentName), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(agentName, os.O_CREATE|os.O_RDWR, 0o755)
	if err != nil {
		return err
	}
	f.Close()
	return mountOn(root, agentName, func(target string) error {
		return unix.Mount("/proc/self/exe", target, "", unix.MS_BIND, "")
	})
}

// bindModules shows the kernel's modules to programs inside, where there are any.
func bindModules(root *os.Root) error {
	if _, err := os.Stat(modulesDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return mountIn(root, modulesDir[1:], func(target string) error {
		return unix.Mount(modulesDir, target, "", unix.MS_BIND, "")
	})
}

// unmountBelow unmounts everything on dir and below, the last mounted first, and
// waits for what is to be written: at most for limit. Then it cuts the rest off,
// so that no program sees it, and says so.
func unmountBelow(dir string, limit time.Duration, log func(format string, args ...any)) error {
	done := make(chan error, 1)
	guard.Go("unmounting", func() error { return unmountAll(dir, limit) }, func(err error) { done <- err })
	until := time.Now().Add(limit)
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(min(10*time.Second, time.Until(until)+time.Second)):
			if time.Now().After(until) {
				return fmt.Errorf("unmount: no answer after %.0f s", limit.Seconds())
			}
			log("toolbox: waiting for disks to take what was written")
		}
	}
}

// unmountAll is [unmountBelow] for as long as it takes.
func unmountAll(dir string, limit time.Duration) error {
	patience := time.Now().Add(min(limit, killing))
	for {
		points, err := mountsBelow(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		var busy error
		for _, point := range points {
			if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW); err != nil {
				busy = fmt.Errorf("unmount %s: %w", point, err)
			}
		}
		if busy == nil {
			continue // for what lay below something else
		}
		if time.Now().After(patience) {
			for _, point := range points {
				_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // the error is told
			}
			return busy
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// mountsBelow lists the mount points on dir and below, the last mounted first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line) // the fifth is the mount point, proc(5)
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points, nil
}

// unescape undoes what the kernel does to blanks in mountinfo (show_mountinfo in
// fs/proc_namespace.c, by mangle of " \t\n\\").
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
