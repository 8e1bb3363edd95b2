package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/vm/guest"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/vmagent/wire"
)

// vmCommand works inside of disk images.
func vmCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "vm",
		Short: "Run a command inside a disk image",
		Long:  "vm boots a disk image with a kernel of farboot's, and works in its root file\nsystem. docs/vm.md tells more.",
	}
	c.AddCommand(vmRunCommand(), vmShellCommand())
	return c
}

// vmRunCommand runs one command.
func vmRunCommand() *cobra.Command {
	var v vmRun
	c := &cobra.Command{
		Use:   "run IMAGE -- COMMAND [ARGUMENT...]",
		Short: "Run a command in a disk image's root file system",
		Long: `run boots a disk image (raw or qcow2) in QEMU, finds its root file system, and
runs a command in it, as root, with a network. What goes in and comes out is the
command's, and so is the exit status; 125 says that there is none.

The image is not written. Where the command ends with status 0, the result is
in a new file: --snapshot names it, the default is IMAGE-1 with the image's
extension, or the next number. --commit puts it in the image's place, in one
step at the end, so that an interrupt or a power cut leaves the image as it was.

The first run fetches Debian's kernel. No root is needed.`,
		Example: `  farboot vm run server.img -- apt-get -y install nginx
  farboot vm run --commit server.img -- sh -c 'apt-get update && apt-get -y upgrade'
  farboot vm run --discard server.img -- dpkg -l
  farboot vm run server.qcow2 --snapshot new.qcow2 -- sh -es <script`,
		Args: func(c *cobra.Command, args []string) error {
			if err := exactArgs(1, `one image, then "--" and a command`)(c, args[:min(len(args), 1)]); err != nil {
				return err
			}
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return exactArgs(0, `one image, then "--" and a command`)(c, args)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return v.run(c, args[0], args[1:]) },
	}
	v.flags(c)
	return c
}

// vmShellCommand lets somebody work in an image.
func vmShellCommand() *cobra.Command {
	v := vmRun{shell: true}
	c := &cobra.Command{
		Use:   "shell IMAGE",
		Short: "Open a shell in a disk image's root file system",
		Long: `shell is "run" with the image's shell on this terminal. When it ends, with
whatever status, what was changed is kept: in a new file, or by --commit in the
image's place. --discard throws it away.`,
		Example: "  farboot vm shell --commit server.img",
		Args:    exactArgs(1, "one image"),
		RunE:    func(c *cobra.Command, args []string) error { return v.run(c, args[0], nil) },
	}
	v.flags(c)
	return c
}

// vmRun is one run of "farboot vm run" or "shell".
type vmRun struct {
	config guest.Config
	agent  string
	shell  bool
}

// flags adds the flags that both have.
func (v *vmRun) flags(c *cobra.Command) {
	f, g := c.Flags(), &v.config
	f.StringVar(&g.Snapshot, "snapshot", "", "the new file (default: IMAGE-1, -2, ... with its extension)")
	f.BoolVar(&g.Commit, "commit", false, "put the result in the image's place")
	f.BoolVar(&g.Discard, "discard", false, "keep nothing")
	f.IntVar(&g.Partition, "root", 0, "number of the partition with the root file system (default: the only\none with an os-release)")
	f.BoolVar(&g.NoFstab, "no-fstab", false, "mount the root file system alone, and not what its fstab lists")
	f.IntVar(&g.Memory, "memory", 1024, "memory in MiB")
	f.IntVar(&g.CPUs, "cpus", min(runtime.NumCPU(), 4), "number of processors")
	f.BoolVar(&g.Offline, "offline", false, "no network")
	f.BoolVar(&g.NoKVM, "no-kvm", false, "emulate, even where KVM works")
	f.StringVar(&v.agent, "agent", "", "the agent's binary (default: farboot-vmagent beside farboot)")
	c.MarkFlagsMutuallyExclusive("snapshot", "commit", "discard")
}

func (v vmRun) run(c *cobra.Command, image string, command []string) error {
	err := v.try(c, image, command)
	var status *exitStatus
	if err != nil && !errors.As(err, &status) {
		return &exitStatus{exitNone, err}
	}
	return err
}

// try is run without an exit status for what goes wrong.
func (v vmRun) try(c *cobra.Command, image string, command []string) (err error) {
	g := v.config
	g.Image, g.Args, g.KeepAlways = image, command, v.shell
	if g.Snapshot == "" && !g.Commit && !g.Discard {
		if g.Snapshot, err = nextName(image); err != nil {
			return err
		}
	}
	if g.Machine, err = v.machine(c); err != nil {
		return err
	}
	g.Stdin, g.Stdout, g.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	restore := func() {}
	if v.shell {
		restore = attachTerminal(c.Context(), &g)
	}
	result, err := guest.Run(c.Context(), g)
	restore()
	if err != nil {
		return err
	}
	switch {
	case result.File != "":
		fmt.Fprintf(c.ErrOrStderr(), "farboot: wrote %s\n", result.File)
	case !g.Discard:
		fmt.Fprintf(c.ErrOrStderr(), "farboot: nothing is kept: the command ended with exit status %d\n", result.Status)
	}
	if result.Status != 0 {
		return &exitStatus{code: result.Status}
	}
	return nil
}

// machine makes kernel and initramfs, or finds them in the cache.
func (v vmRun) machine(c *cobra.Command) (guest.Machine, error) {
	agent := v.agent
	if agent == "" {
		self, err := os.Executable()
		if err != nil {
			return guest.Machine{}, fmt.Errorf("agent: %w", err)
		}
		agent = filepath.Join(filepath.Dir(self), "farboot-vmagent")
		if _, err := os.Stat(agent); err != nil {
			return guest.Machine{}, withHint(fmt.Errorf("agent: %w", err), `"make" builds it beside farboot; --agent names another place`)
		}
	}
	store, dir, err := openCache()
	if err != nil {
		return guest.Machine{}, err
	}
	p := newProgress(c.ErrOrStderr())
	defer p.finish()
	return guest.Build(c.Context(), guest.Parts{Dir: dir, Agent: agent, Sources: source.Options{
		Cache: store, Client: fetch.New(fetch.DefaultLimits(), fetch.Proxy()), Progress: p.report, Warn: p.warn,
	}})
}

// nextName returns the first free name for a result: disk-1.img beside disk.img.
func nextName(image string) (string, error) {
	ext := filepath.Ext(image)
	stem := strings.TrimSuffix(image, ext)
	for n := 1; n < 1000; n++ {
		name := fmt.Sprintf("%s-%d%s", stem, n, ext)
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s-1%s and 998 more are there: --snapshot names another", stem, ext)
}

// attachTerminal gives a command this terminal, where there is one, and returns what gives
// it back.
func attachTerminal(ctx context.Context, g *guest.Config) (restore func()) {
	in, ok := g.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return func() {}
	}
	fd := int(in.Fd())
	size := func() wire.Size {
		columns, rows, err := term.GetSize(fd)
		if err != nil || columns <= 0 || rows <= 0 { // as on a serial line
			return wire.Size{Columns: 80, Rows: 24}
		}
		return wire.Size{Columns: uint16(columns), Rows: uint16(rows)}
	}
	now := size()
	g.Terminal = &now
	g.Env = append(g.Env, "TERM="+os.Getenv("TERM"))
	fmt.Fprint(g.Stderr, "farboot: the image boots; Ctrl-D ends its shell\r\n")
	changed, sizes := make(chan os.Signal, 1), make(chan wire.Size)
	signal.Notify(changed, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-changed:
				select {
				case sizes <- size():
				case <-ctx.Done():
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	g.Resize = sizes
	// Until the image's shell is up Ctrl-C is for farboot: the terminal changes with the
	// first byte that comes.
	raw := &rawTerminal{fd: fd, Writer: g.Stdout}
	g.Stdout = raw
	return func() {
		cancel()
		signal.Stop(changed)
		raw.restore()
	}
}

// rawTerminal is a terminal whose keys are somebody else's once that one has said
// something.
type rawTerminal struct {
	io.Writer
	fd    int
	state *term.State
}

// Write implements [io.Writer].
func (r *rawTerminal) Write(p []byte) (int, error) {
	if r.state == nil {
		state, err := term.MakeRaw(r.fd)
		if err != nil {
			return 0, err
		}
		r.state = state
	}
	return r.Writer.Write(p)
}

// restore gives the terminal back.
func (r *rawTerminal) restore() {
	if r.state != nil {
		term.Restore(r.fd, r.state) //nolint:errcheck // nothing to be done
	}
}

// exitNone is the exit status where a command has none, as env(1) and its kin have it.
const exitNone = 125

// exitStatus says what to end with. Without an error it is somebody else's status, who has
// said why.
type exitStatus struct {
	code int
	err  error
}

func (e *exitStatus) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitStatus) Unwrap() error { return e.err }
