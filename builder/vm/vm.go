// Package vm runs a virtual machine in QEMU, to try an image or to test one.
//
// [Start] starts a machine, [VM.Expect] waits until its serial console shows a
// phrase, [VM.Stop] ends it:
//
//	m, err := vm.Start(ctx, vm.Config{Image: "out/netboot.iso", Firmware: vm.UEFI})
//	...
//	defer m.Stop()
//	_, err = m.Expect(ctx, "Choose language")
//
// The package promises that no byte of the serial console is lost, that nothing
// is written to the image or anywhere else unless the Config says so (Writable,
// Vars), and that QEMU goes by Stop, with the context, or when this process dies.
//
// It needs QEMU and, for UEFI, OVMF, and says which Debian package is missing.
// It does not emulate faithfully enough to stand for real hardware, and it does
// not look at the screen: what a guest shows on VGA only is not seen.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// qemu is the emulator's name on the PATH.
const qemu = "qemu-system-x86_64"

// VM is a machine that has been started.
type VM struct {
	console *console
	monitor *monitor
	stdin   io.Writer
	kill    context.CancelFunc
	done    chan struct{} // closed when QEMU has gone
	err     error         // why QEMU failed; to be read once done is closed
}

// Start starts a machine. It ends when ctx does.
func Start(ctx context.Context, c Config) (*VM, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(qemu)
	if err != nil {
		return nil, fmt.Errorf("vm: %w: install the Debian package qemu-system-x86", err)
	}
	if err := c.checkInstalled(); err != nil {
		return nil, err
	}
	vars, err := c.vars()
	if err != nil {
		return nil, fmt.Errorf("vm: the firmware's variables: %w", err)
	}
	defer vars.Close()
	monitor, theirs, err := newMonitor()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	ctx, kill := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, path, c.args()...)
	cmd.ExtraFiles = []*os.File{qmpFD - 3: theirs, varsFD - 3: vars}
	if c.Port != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.Port)
	}
	m := &VM{console: newConsole(c.Serial), monitor: monitor, kill: kill, done: make(chan struct{})}
	if err := m.run(ctx, cmd); err != nil {
		kill()
		monitor.conn.Close()
		return nil, fmt.Errorf("vm: %w", err)
	}
	return m, nil
}

// run starts QEMU. From then on a goroutine waits for its end.
func (m *VM) run(ctx context.Context, cmd *exec.Cmd) (err error) {
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = m.console, &stderr
	if m.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C is for whoever started us, who cancels ctx
		Pdeathsig: syscall.SIGKILL, // should this process be killed
	}
	cmd.WaitDelay = 5 * time.Second // should a child of QEMU hold its stdout open
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread that started QEMU ends, so the thread
		// must not end before QEMU (go.dev/issue/27505).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			m.err = fmt.Errorf("vm: %s: %w: %s", qemu, err, strings.TrimSpace(stderr.String()))
		}
		m.kill()
		m.monitor.conn.Close()
		close(m.done)
		m.console.end()
	}()
	return <-started
}

// Expect waits until the serial console shows one of the phrases, behind what
// the last Expect found, and returns it. Phrases are matched against plain
// text, without the terminal's escape sequences. The error holds the console's
// last 40 lines.
func (m *VM) Expect(ctx context.Context, phrases ...string) (string, error) {
	phrase, err := m.console.expect(ctx, phrases)
	if err != nil {
		select {
		case <-m.done:
			err = errors.Join(m.err, err)
		default:
		}
	}
	return phrase, err
}

// Serial returns all that the serial console has shown, as plain text.
func (m *VM) Serial() string { return m.console.String() }

// Type sends text to the serial console.
func (m *VM) Type(text string) error {
	_, err := io.WriteString(m.stdin, text)
	return err
}

// Execute runs a command of the QEMU Machine Protocol, such as "system_reset",
// or "set_link" with args {"name": "nic0", "up": false}. result, where not nil,
// gets what it returns. A command that ctx cuts off is the last one: its answer
// may still be on the way.
func (m *VM) Execute(ctx context.Context, command string, args, result any) error {
	return m.monitor.execute(ctx, command, args, result)
}

// Wait waits until the machine has ended: switched off or reset by its guest,
// stopped, or cancelled. The error says that QEMU failed.
func (m *VM) Wait() error {
	<-m.done
	return m.err
}

// Stop ends the machine at once, as pulling the plug does, and waits until QEMU
// has gone. It may be called more than once.
func (m *VM) Stop() {
	m.kill()
	<-m.done
}
