package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/vmagent/wire"
	"golang.org/x/sys/unix"
)

const (
	// appear is how long devices may take that are there from the start. In emulation,
	// on a computer with thirty other things to do, a second becomes a minute.
	appear = 5 * time.Minute
	// parting is how long the desk may take to hear how it ended. It has gone if it
	// does not answer.
	parting = time.Minute
)

// run is the agent. As PID 1 it never returns: the machine goes off.
func run(args []string, stderr io.Writer) error {
	if len(args) > 0 && path.Base(args[0]) == toolbox.ModprobeName {
		return toolbox.Modprobe(modulesDir(), args[1:])
	}
	if os.Getpid() != 1 {
		return errors.New("this is /init of a virtual machine and runs as PID 1 only")
	}
	// Nobody ends PID 1. Not all signals are ignored: SIGURG is the Go scheduler's.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM)
	if err := serve(); err != nil {
		fmt.Fprintln(stderr, "vmagent:", err) // on the console, which the desk shows
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// modulesDir is where the modules of the kernel that runs lie.
func modulesDir() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad pointer only
	return "/lib/modules/" + unix.ByteSliceToString(u.Release[:])
}

// serve does what the desk orders, once. The error is that nobody can be told.
func serve() error {
	if err := prepare(); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	out := wire.NewWriter(port)
	if err := out.Send(wire.Hello, nil); err != nil {
		return fmt.Errorf("port: %w", err)
	}
	frame, err := wire.Read(port)
	if err != nil {
		return fmt.Errorf("port: %w", err)
	}
	var order wire.Order
	if err := json.Unmarshal(frame.Data, &order); err != nil || frame.Kind != wire.Start {
		return fmt.Errorf("port: frame of kind %d is no order: %w", frame.Kind, err)
	}
	result := wire.Result{}
	bye := make(chan struct{})
	if result.Status, err = obey(order, port, out, bye); err != nil {
		result.Error = err.Error()
	}
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	if err := out.Send(wire.End, data); err != nil {
		return fmt.Errorf("port: %w", err)
	}
	select {
	case <-bye:
	case <-time.After(parting):
	}
	return nil
}

// prepare mounts what this program needs, and loads the drivers of QEMU's devices.
func prepare() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("%s: %w", m.dir, err)
		}
	}
	if err := toolbox.AnswerKernel(); err != nil {
		return err
	}
	for _, driver := range []string{"virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "virtio_rng"} {
		if err := toolbox.Modprobe(modulesDir(), []string{driver}); err != nil {
			return err
		}
	}
	return nil
}

// openPort opens the port to the desk.
func openPort() (*os.File, error) {
	var node string
	err := await("port to the desk", func() bool {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name") // the pattern is right
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(data)) == wire.Port {
				node = "/dev/" + filepath.Base(filepath.Dir(name))
				_, err := os.Stat(node)
				return err == nil
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	// Not by os.Open: a file in Go's poller would be read before the desk's end is
	// there, and such a read is an end of file (port_fops_read in
	// drivers/char/virtio_console.c). The first write waits for it.
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return os.NewFile(uintptr(fd), node), nil
}

// await waits until something is there.
func await(what string, there func() bool) error {
	for end := time.Now().Add(appear); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not there after %.0f s", what, appear.Seconds())
		}
	}
	return nil
}
