// Command xenload is the /init of a machine in which several loaders load the same
// hypervisor with the same modules, in turns: farboot's, which is this program
// again, u-root's and kexec-tools'. Each is a process of its own that begins with
// files in memory. It prints one line a load and switches off; nothing is started.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"golang.org/x/sys/unix"
)

// rounds is how often each loads.
const rounds = 5

// The contenders, by the names that are printed.
var loaders = []struct {
	name string
	args []string
}{
	{"farboot", []string{"/init", "load"}},
	{"u-root", []string{"/uroot"}},
	{"kexec-tools", []string{
		"/sbin/kexec", "-l", "-c", "--type=multiboot2-x86", "/xen", "--command-line=console=com1",
		"--module=/vmlinuz console=hvc0", "--module=/initrd",
	}},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("xenload: failed:", err)
		os.Exit(1) // as PID 1: the kernel panics, and the benchmark ends with it
	}
}

// run is one of the loaders, or /init.
func run(args []string) error {
	if len(args) > 0 && args[0] == "load" {
		return load()
	}
	if err := race(); err != nil {
		return err
	}
	fmt.Println("xenload: done")
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// race lets the loaders take turns.
func race() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("%s: %w", m.dir, err)
		}
	}
	for range rounds {
		for _, l := range loaders {
			started := time.Now()
			out, err := exec.Command(l.args[0], l.args[1:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", l.name, err, out)
			}
			fmt.Printf("%sxenload: %s: %.3f s\n", only(l.name, out), l.name, time.Since(started).Seconds())
		}
	}
	return nil
}

// only returns what our own loader says; the others say much.
func only(name string, out []byte) []byte {
	if name == "farboot" {
		return out
	}
	return nil
}

// load loads as the agent does, and prints how long that took from where the agent
// begins: with all files in sealed memory.
func load() error {
	x := handover.Xen{Options: "console=com1", Cmdline: "console=hvc0"}
	for _, f := range []struct {
		name string
		to   **handover.Memory
	}{{"/xen.gz", &x.Hypervisor}, {"/vmlinuz", &x.Kernel}, {"/initrd", &x.Initrd}} {
		m, err := sealed(f.name)
		if err != nil {
			return err
		}
		*f.to = m
	}
	started := time.Now()
	if err := handover.LoadXen(x, os.DirFS("/sys")); err != nil {
		return err
	}
	fmt.Printf("xenload: farboot, verified before: %.3f s\n", time.Since(started).Seconds())
	return nil
}

// sealed returns a file's content in sealed memory.
func sealed(name string) (*handover.Memory, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := handover.NewMemory(name)
	if err != nil {
		return nil, err
	}
	w, err := m.Append(info.Size())
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.NewOffsetWriter(w, 0), f); err != nil {
		return nil, err
	}
	return m, m.Seal()
}
