package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/strictjson"
	"github.com/farboot/farboot/payload/vmagent/wire"
)

const (
	// bootKVM is how long a machine may take by hardware virtualisation, where a second
	// is usual, and bootTCG by emulation on a computer with much to do.
	bootKVM = 20 * time.Second
	bootTCG = 10 * time.Minute
	// leaving is how long a machine may take to go off once it is told to.
	leaving = 5 * time.Minute
)

// session is a machine that runs, and the way to its agent.
type session struct {
	vm   *vm.VM
	conn net.Conn
}

// boot starts a machine and waits for its agent: by hardware virtualisation where that has
// not failed since this computer was started, or else by emulation. A /dev/kvm that opens
// does not always run a kernel; and until the agent is up nobody has touched the disk.
func boot(ctx context.Context, c Config, w *work) (*session, error) {
	note := kvmNote{c.Machine.notes}
	if !c.NoKVM && note.worth() {
		s, err := start(ctx, c, w, true, bootKVM)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		note.failed()
	}
	return start(ctx, c, w, false, bootTCG)
}

// kvmNote is a file that says since which start of this computer KVM is of no use.
type kvmNote struct{ path string }

// boot is this computer's, until it is started again.
func (n kvmNote) boot() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it it is tried each time
	return string(data)
}

// worth tells whether KVM is to be tried.
func (n kvmNote) worth() bool {
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		return false
	}
	data, err := os.ReadFile(n.path)
	return err != nil || len(data) == 0 || string(data) != n.boot()
}

// failed notes that it is not, for as long as this computer runs.
func (n kvmNote) failed() {
	_ = os.WriteFile(n.path, []byte(n.boot()), 0o600) // or else it is tried again
}

// start starts a machine and waits for its agent's first word.
func start(ctx context.Context, c Config, w *work, kvm bool, limit time.Duration) (*session, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: port: %w", ErrGuest, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "port"), os.NewFile(uintptr(fds[1]), "port of qemu")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("%w: port: %w", ErrGuest, err)
	}
	m, err := vm.Start(ctx, c.machine(w, kvm, theirs))
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &session{m, conn}
	stop := context.AfterFunc(ctx, s.stop)
	defer stop()
	conn.SetReadDeadline(time.Now().Add(limit)) //nolint:errcheck // a socket takes one
	theirs.Close()                              // or else QEMU's end would not be the last
	frame, err := wire.Read(conn)
	if err == nil && frame.Kind != wire.Hello {
		err = fmt.Errorf("%w of kind %d", wire.ErrFrame, frame.Kind)
	}
	if err != nil {
		s.stop()
		return nil, s.explain(ctx, err)
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	return s, nil
}

// machine describes the virtual machine. What is not needed to do without QEMU's helpers
// is forbidden to it.
func (c Config) machine(w *work, kvm bool, port *os.File) vm.Config {
	m := vm.Config{
		Kernel: c.Machine.Kernel, Initrd: c.Machine.Initrd, Cmdline: "console=ttyS0,115200 quiet panic=1",
		Memory: c.Memory, KVM: kvm, Port: port, PortName: wire.Port,
		Disks: []vm.Disk{{File: w.path, Drive: w.drive()}},
		NICs:  []vm.NIC{{Model: "virtio-net-pci"}},
		Args: []string{"-smp", strconv.Itoa(max(c.CPUs, 1)), "-device", "virtio-rng-pci",
			"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"},
	}
	if kvm {
		m.CPU = "host"
	}
	if c.Offline {
		m.NICs[0].Net = "user,restrict=on"
	}
	return m
}

// run gives the order and returns the command's exit status, once the machine has gone off
// and all of its disk is in the file.
func (s *session) run(ctx context.Context, c Config) (int, error) {
	stop := context.AfterFunc(ctx, s.stop)
	defer stop()
	out := wire.NewWriter(s.conn)
	order, err := json.Marshal(wire.Order{Args: c.Args, Env: c.Env, Terminal: c.Terminal, Partition: c.Partition, NoFstab: c.NoFstab})
	if err != nil {
		return 0, err
	}
	if err := out.Send(wire.Start, order); err != nil {
		return 0, fmt.Errorf("order: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go feed(out, c.Stdin)
	go resize(out, c.Resize, ended)
	result, err := s.listen(c.Stdout, c.Stderr)
	if err != nil {
		return 0, s.explain(ctx, err)
	}
	_ = out.Send(wire.Bye, nil) // or it has gone off by itself
	if err := s.leave(ctx); err != nil {
		return 0, s.explain(ctx, err)
	}
	if result.Error != "" {
		return 0, fmt.Errorf("%w: %s", ErrGuest, printable(result.Error))
	}
	return result.Status, nil
}

// feed sends what the user types, or what is piped in, and that it ended.
func feed(out *wire.Writer, in io.Reader) {
	if in != nil {
		// What cannot be read ends the input; what cannot be sent, the machine.
		_, _ = io.Copy(out.Stream(wire.Stdin), in)
	}
	_ = out.Send(wire.Stdin, nil)
}

// resize tells the guest of each new size.
func resize(out *wire.Writer, sizes <-chan wire.Size, ended <-chan struct{}) {
	for {
		select {
		case s := <-sizes:
			data, err := json.Marshal(s)
			if err != nil || out.Send(wire.Resize, data) != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// listen shows what the command prints, up to its result.
func (s *session) listen(stdout, stderr io.Writer) (wire.Result, error) {
	for {
		frame, err := wire.Read(s.conn)
		if err != nil {
			return wire.Result{}, err
		}
		switch frame.Kind {
		case wire.Stdout:
			_, err = stdout.Write(frame.Data)
		case wire.Stderr:
			_, err = stderr.Write(frame.Data)
		case wire.End:
			var r wire.Result
			if err := strictjson.Decode(frame.Data, wire.MaxData, &r); err != nil {
				return r, err
			}
			if r.Status < 0 || r.Status > 255 {
				return r, fmt.Errorf("exit status %d", r.Status)
			}
			return r, nil
		default:
			err = fmt.Errorf("%w of kind %d", wire.ErrFrame, frame.Kind)
		}
		if err != nil {
			return wire.Result{}, err
		}
	}
}

// leave waits until QEMU has gone: by then all that it held is in the file.
func (s *session) leave(ctx context.Context) error {
	gone := make(chan error, 1)
	go func() { gone <- s.vm.Wait() }()
	select {
	case err := <-gone:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(leaving):
		return fmt.Errorf("it does not go off within %.0f s", leaving.Seconds())
	}
}

// stop ends the machine at once.
func (s *session) stop() {
	s.conn.Close()
	s.vm.Stop()
}

// consoleLines is how much of the console an error shows.
const consoleLines = 15

// explain says what became of a machine that did not answer as it should.
func (s *session) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it ended before the command did")
		if gone := s.leave(ctx); gone != nil {
			err = gone
		}
	}
	lines := strings.Split(strings.TrimSpace(s.vm.Serial()), "\n")
	if lines = lines[max(len(lines)-consoleLines, 0):]; lines[0] != "" {
		return fmt.Errorf("%w: %w; its console ends with\n\t%s", ErrGuest, err, printable(strings.Join(lines, "\n\t")))
	}
	return fmt.Errorf("%w: %w", ErrGuest, err)
}

// printable drops what a terminal would obey, but for line ends and tabs.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}
