// Package carried is the agent under the second kernel: as /init of a live system's
// own initramfs, or of none, it makes a block device of an image on the web and then
// starts the system, which knows nothing of it.
//
// [Run] is PID 1 until the system's own init takes its place. It loads the modules
// that were carried along, starts a child that serves the image, waits until the
// device answers, puts everything back as the system's makers left it, and executes
// their init. [Serve] is that child. It lives as long as the machine does: through
// switch_root, network managers and the end of all other programs.
//
// The package promises that
//
//   - the system's init finds the initramfs, the mounts and its arguments as if the
//     agent had not been there, but for one process and one block device;
//   - reads of the device wait while the network is away, for as long as it takes, and
//     a chunk that nobody has right is an I/O error that is told;
//   - the child uses no file of the system: it has a root of its own in memory, so that
//     nothing that happens to /dev, /proc or /etc/resolv.conf concerns it;
//   - where no system can be started the machine says why and restarts.
//
// What it finds in the initramfs is package carry's. It decides nothing: which image,
// which door, which drivers was said under the first kernel.
package carried

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/modules"
)

const (
	// starts is how often the child is started: it may have met a device that was
	// late. It ends by itself only where waiting is of no use.
	starts = 3
	// pause is how long people can read why a machine restarts.
	pause = 30 * time.Second
)

// Here tells whether this program is /init of a system that it was carried into.
func Here() bool {
	_, err := os.Lstat(carry.File)
	return err == nil
}

// Run starts the system. It does not return: where that fails the machine restarts.
// args are the kernel's, with the program's name in front.
func Run(args []string) error {
	m := &machine{log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "farboot: "+format+"\n", args...) }}
	err := m.run(args)
	m.log("%v", err)
	m.log("restarting in %.0f s", pause.Seconds())
	time.Sleep(pause)
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// machine is the machine before its system starts.
type machine struct {
	log     func(format string, args ...any)
	mounted []string // what is to be unmounted
}

// kernelMounts are what the agent needs of the kernel for its own work.
var kernelMounts = []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}}

// run returns only where the system cannot be started.
func (m *machine) run(args []string) error {
	if err := m.mount(); err != nil {
		return err
	}
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer kmsg.Close()
	m.log = printer(kmsg, loud)
	data, err := os.ReadFile(carry.File)
	if err != nil {
		return err
	}
	d, err := carry.Decode(data)
	if err != nil {
		return err
	}
	if err := insertAll(carry.Modules, m.log); err != nil {
		return err
	}
	for try := 1; ; try++ {
		if err = startChild(kmsg); err == nil {
			break
		}
		m.log("image: %v", err)
		if try == starts {
			return err
		}
	}
	if d.Root != nil {
		return m.switchRoot(d, args)
	}
	return m.handOver(args)
}

// mount mounts what is not mounted yet.
func (m *machine) mount() error {
	for _, k := range kernelMounts {
		if err := os.MkdirAll(k.dir, 0o755); err != nil {
			return err
		}
		switch err := unix.Mount(k.kind, k.dir, k.kind, unix.MS_NOSUID, ""); {
		case err == nil:
			m.mounted = append(m.mounted, k.dir)
		case !errors.Is(err, unix.EBUSY): // a kernel with CONFIG_DEVTMPFS_MOUNT has /dev
			return fmt.Errorf("mount %s: %w", k.dir, err)
		}
	}
	return nil
}

// handOver puts the system's own /init in its place and executes it.
func (m *machine) handOver(args []string) error {
	const init = "/init"
	if err := os.Rename(carry.Init, init); err != nil {
		return err
	}
	if err := os.RemoveAll(carry.Dir); err != nil {
		m.log("%v", err)
	}
	for _, dir := range slices.Backward(m.mounted) {
		// Lazily: the child has come from here.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			m.log("unmount %s: %v", dir, err)
		}
	}
	args[0] = init
	return fmt.Errorf("%s: %w", init, unix.Exec(init, args, os.Environ()))
}

// insertAll loads the modules in a folder, by the order of their names. One that the
// kernel refuses is told, and may not be needed.
func insertAll(dir string, log func(format string, args ...any)) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := insert(filepath.Join(dir, e.Name())); err != nil {
			log("module %s: %v", e.Name(), err)
		}
	}
	return nil
}

// insert loads one module, "007-loop.ko". One that is in already is fine.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, name, _ := strings.Cut(filepath.Base(file), "-")
	err = unix.FinitModule(int(f.Fd()), parameters(modules.Name(name)), 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// parameters returns what a module is told.
func parameters(name string) string {
	return blockdev.Needs(carry.NBD)[name] + blockdev.Needs(carry.FUSE)[name]
}

// The levels of lines for the kernel's log (include/linux/kern_levels.h). With
// "quiet" on its command line a kernel shows those above KERN_WARNING only.
const (
	loud  = 3 // KERN_ERR: what people must see
	quiet = 6 // KERN_INFO
)

// printer returns what prints a line to the kernel's log: the system's own log has
// it, and the file can be written to whatever becomes of /dev.
func printer(kmsg *os.File, level int) func(format string, args ...any) {
	return func(format string, args ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
		fmt.Fprintf(kmsg, "<%d>farboot: %.900s\n", level, text) // LOG_LINE_MAX is 1024
	}
}
