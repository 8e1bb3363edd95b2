package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside are the kernel's file systems in the image's root.
var inside = []struct {
	kind, dir string
	flags     uintptr
	data      string
}{
	{"proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"devtmpfs", "dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
	{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
	{"tmpfs", "dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
}

// links are what programs expect in /dev, and udev makes elsewhere.
var links = map[string]string{
	"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1", "dev/stderr": "/proc/self/fd/2",
}

// furnish mounts the kernel's file systems in the root.
func furnish(root string) error {
	for _, m := range inside {
		dir := filepath.Join(root, m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, dir, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("/%s: mount: %w", m.dir, err)
		}
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// The network that QEMU makes for a user (docs/system/devices/net.rst): these addresses
// are fixed, and a lease would only take time. 10.0.2.2 is the desk.
const (
	address    = "10.0.2.15/24"
	gateway    = "10.0.2.2"
	nameserver = "nameserver 10.0.2.3\n"
)

// connect brings the only card up. Without one there is no network.
func connect() error {
	all, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, link := range all {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("%s: %w", link.Attrs().Name, err)
		}
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("%s: %w", link.Attrs().Name, err)
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("%s: %w", link.Attrs().Name, err)
		}
	}
	return nil
}

// resolve lays a file with the network's name server over the root's resolv.conf, where
// that is, or where it leads to. It returns what takes away the empty file that was made
// to lay it on, if there was none.
func resolve(root string) (undo func() error, err error) {
	undo = func() error { return nil }
	name := "/etc/resolv.conf"
	if to, err := os.Readlink(filepath.Join(root, name)); err == nil {
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = to
	}
	ours, theirs := "/resolv.conf", filepath.Join(root, name)
	if err := os.WriteFile(ours, []byte(nameserver), 0o644); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(theirs, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err == nil {
		err = f.Close()
		undo = func() error { return os.Remove(theirs) }
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := unix.Mount(ours, theirs, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("%s: mount: %w", name, err)
	}
	return undo, nil
}

// release writes everything to the disk and unmounts the root with all below it. Before
// the root itself goes, last is done in it.
func release(root string, last func() error) error {
	var state unix.Statfs_t
	if err := unix.Statfs(root, &state); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if state.Flags&unix.ST_RDONLY != 0 {
		return errors.New("disk: the kernel found a fault in the root file system, or no room for it on the desk, and let nothing more be written")
	}
	points, err := mountsBelow("/proc/self/mountinfo", root)
	if err != nil {
		return err
	}
	for _, point := range points {
		if point == root {
			if err := last(); err != nil {
				return err
			}
		}
		if err := leave(point); err != nil {
			return err
		}
	}
	return nil
}

// leave unmounts one file system. What it could not write is an error: unmounting alone
// would not tell. Who was killed a moment ago may still hold it.
func leave(point string) error {
	f, err := os.Open(point)
	if err == nil {
		err = errors.Join(ignore(unix.Syncfs(int(f.Fd())), unix.EROFS), f.Close())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", point, err)
	}
	for end := time.Now().Add(parting); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: unmount: %w", point, err)
		}
	}
}

// ignore returns err unless it is that one.
func ignore(err, one error) error {
	if errors.Is(err, one) {
		return nil
	}
	return err
}

// mountsBelow lists the mount points on dir and below, the last mounted first.
func mountsBelow(mountinfo, dir string) ([]string, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil, err
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

// unescape undoes what the kernel does to blanks in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
