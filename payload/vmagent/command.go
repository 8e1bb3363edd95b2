package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/vmagent/wire"
)

const (
	// root is where the image's root file system is mounted.
	root = "/image"
	// notFound is the status of a command that is not there, as in a shell.
	notFound = 127
	// killing is how long killed programs may take to be gone.
	killing = time.Minute
)

// obey runs the order's command and returns its status. With an error there is none, and
// the disk is not whole. What arrives on the port goes to the command; bye is closed when
// the desk says it.
func obey(order wire.Order, port io.Reader, out *wire.Writer, bye chan<- struct{}) (status int, err error) {
	tidy, err := enter(order.Partition)
	if err != nil {
		go listen(port, nil, nil, bye)
		return 0, err
	}
	processes := toolbox.NewProcesses(root)
	if !order.NoFstab {
		status, err = fstab(processes, out)
	}
	if err != nil || status != 0 {
		go listen(port, nil, nil, bye)
		if err == nil {
			err = fmt.Errorf("not all that /etc/fstab says can be mounted (mount ends with %d); --no-fstab leaves it be", status)
		}
	} else {
		status, err = command(processes, order, port, out, bye)
	}
	return status, errors.Join(err, processes.Close(killing), release(root, tidy))
}

// enter makes the image's root a system to work in. It returns what is to be undone there
// at the end.
func enter(want int) (tidy func() error, err error) {
	if err := await("disk", func() bool { _, err := os.Stat("/dev/" + disk); return err == nil }); err != nil {
		return nil, err
	}
	all, err := partitions("/sys", "/dev")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := mountRoot(all, want, root); err != nil {
		return nil, err
	}
	if err := furnish(root); err != nil {
		return nil, err
	}
	if err := connect(); err != nil {
		return nil, err
	}
	return resolve(root)
}

// fstab has the image's own mount(8) mount what its fstab says: a new kernel that landed
// below an unmounted /boot would not be found. File systems of the network are not there.
func fstab(processes *toolbox.Processes, out *wire.Writer) (int, error) {
	if _, err := os.Stat(filepath.Join(root, "etc/fstab")); err != nil {
		return 0, nil
	}
	program := find(nil, "mount")
	if program == "" {
		return 0, nil
	}
	args := []string{program, "-a", "-t", "auto,ext2,ext3,ext4,xfs,btrfs,vfat", "-O", "no_netdev"}
	return start(processes, toolbox.Command{Args: args, Env: toolbox.Environ(), Dir: "/"}, out)
}

// find returns where a command lies in the image, or "". A name with a slash is where it
// says.
func find(env []string, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	folders := ""
	for _, pair := range append(toolbox.Environ(), env...) {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			folders = value
		}
	}
	for _, dir := range filepath.SplitList(folders) {
		// A link may lead anywhere within the image; that it is there will do.
		if _, err := os.Lstat(filepath.Join(root, dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

// command runs the order's command.
func command(processes *toolbox.Processes, order wire.Order, port io.Reader, out *wire.Writer, bye chan<- struct{}) (int, error) {
	c := toolbox.Command{Args: order.Args, Env: append(toolbox.Environ(), order.Env...), Dir: "/root"}
	if len(c.Args) == 0 {
		c.Args = []string{"bash", "-l"}
		if find(c.Env, "bash") == "" {
			c.Args = []string{"sh", "-l"}
		}
	}
	if _, err := os.Stat(root + c.Dir); err != nil {
		c.Dir = "/"
	}
	name := c.Args[0]
	if c.Args = append([]string{find(c.Env, name)}, c.Args[1:]...); c.Args[0] == "" {
		go listen(port, nil, nil, bye)
		_, err := fmt.Fprintf(out.Stream(wire.Stderr), "%s: command not found\n", name)
		return notFound, err
	}
	if order.Terminal != nil {
		master, slave, err := processes.Terminal(toolbox.Size{Columns: order.Terminal.Columns, Rows: order.Terminal.Rows})
		if err != nil {
			return 0, err
		}
		defer master.Close()
		go listen(port, master, func(s wire.Size) { _ = toolbox.Resize(master, toolbox.Size{Columns: s.Columns, Rows: s.Rows}) }, bye)
		c.Stdin, c.Stdout, c.Stderr, c.Terminal = slave, slave, slave, true
		return start(processes, c, out, pipe{master, wire.Stdout})
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	c.Stdin = theirs
	go listen(port, ours, nil, bye)
	return start(processes, c, out)
}

// pipe is where a command's output arrives, and what it is.
type pipe struct {
	from *os.File
	kind wire.Kind
}

// start runs a command to its end and sends what it prints: from the terminal, or else
// from pipes that it gets. It closes what the command has.
func start(processes *toolbox.Processes, c toolbox.Command, out *wire.Writer, from ...pipe) (int, error) {
	if len(from) == 0 {
		for _, to := range []struct {
			file **os.File
			kind wire.Kind
		}{{&c.Stdout, wire.Stdout}, {&c.Stderr, wire.Stderr}} {
			r, w, err := os.Pipe()
			if err != nil {
				return 0, err
			}
			*to.file = w
			from = append(from, pipe{r, to.kind})
		}
	}
	proc, err := processes.Start(c)
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f != nil {
			_ = f.Close() // a terminal is one file by three names
		}
	}
	if err != nil {
		status := notFound
		if !errors.Is(err, fs.ErrNotExist) {
			status = notFound - 1 // it is there and cannot be run
		}
		_, err = fmt.Fprintf(out.Stream(wire.Stderr), "%v\n", err)
		return status, err
	}
	sent := make(chan error, len(from))
	for _, p := range from {
		guard.Go("sending output", func() error {
			_, err := io.Copy(out.Stream(p.kind), p.from)
			return err
		}, func(err error) { sent <- err })
	}
	status := proc.Status()
	drain(sent, from)
	if status.Code < 0 {
		return 128 + int(status.Signal), nil
	}
	return status.Code, nil
}

// settling is how long output is waited for that a daemon holds open.
const settling = 2 * time.Second

// drain waits until all that was printed is sent. What a command left running may hold
// the pipes open; it has settling.
func drain(sent <-chan error, from []pipe) {
	limit := time.After(settling)
	for range from {
		select {
		case <-sent: // an error is that of a terminal whose last program ended: EIO
		case <-limit:
			return
		}
	}
}

// listen passes on what the desk says until it ends. Input that nobody takes is dropped.
func listen(port io.Reader, stdin *os.File, resize func(wire.Size), bye chan<- struct{}) {
	for {
		frame, err := wire.Read(port)
		if err != nil {
			return
		}
		switch frame.Kind {
		case wire.Stdin:
			if stdin == nil {
				continue
			}
			_, err := stdin.Write(frame.Data)
			if len(frame.Data) == 0 || err != nil {
				stdin.Close()
				stdin = nil
			}
		case wire.Resize:
			var s wire.Size
			if json.Unmarshal(frame.Data, &s) == nil && resize != nil {
				resize(s)
			}
		case wire.Bye:
			close(bye)
			return
		}
	}
}
