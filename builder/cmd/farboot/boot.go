package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// bootCommand tries a medium in QEMU.
func bootCommand() *cobra.Command {
	var b boot
	c := &cobra.Command{
		Use:   "boot IMAGE|FOLDER",
		Short: "Boot an image or a netboot folder in QEMU",
		Long: `boot starts a virtual machine from an image, as CD or as USB stick, or from a
netboot folder by TFTP and iPXE. Its serial console appears here; Ctrl-] ends
it. Nothing is written to the image.

With --site the folder of a published site is served on --listen meanwhile. The
machine reaches this computer's loopback as 10.0.2.2, so that a medium built
for http://10.0.2.2:8080/ finds it.`,
		Example: `  farboot boot out/netboot.iso --site out/site
  farboot boot out/netboot.iso --secure-boot --usb --until 'Choose language'
  farboot boot out/netboot --site out/site`,
		Args: exactArgs(1, "one image or netboot folder"),
		RunE: func(c *cobra.Command, args []string) error { return b.run(c, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&b.uefi, "uefi", false, "start by UEFI instead of BIOS")
	f.BoolVar(&b.secureBoot, "secure-boot", false, "start by UEFI with Secure Boot on")
	f.BoolVar(&b.usb, "usb", false, "attach the image as USB stick instead of CD")
	f.BoolVar(&b.kvm, "kvm", false, "use hardware virtualisation instead of emulation")
	f.IntVar(&b.memory, "memory", 1024, "memory in MiB")
	f.StringArrayVar(&b.nics, "nic", nil, "a network card's model, again for each card (default virtio-net-pci)")
	f.StringVar(&b.site, "site", "", "serve this published site meanwhile")
	f.StringVar(&b.listen, "listen", "127.0.0.1:8080", "where to serve it")
	f.StringVar(&b.until, "until", "", "end successfully when the console shows this")
	f.DurationVar(&b.timeout, "timeout", 10*time.Minute, "with --until: give up after this long")
	c.MarkFlagsMutuallyExclusive("uefi", "secure-boot")
	return c
}

// boot is one run of "farboot boot".
type boot struct {
	uefi, secureBoot, usb, kvm bool
	memory                     int
	nics                       []string
	site, listen, until        string
	timeout                    time.Duration
}

func (b boot) run(c *cobra.Command, path string) error {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	if b.site != "" {
		if err := b.serve(ctx, c.ErrOrStderr()); err != nil {
			return err
		}
	}
	cfg, err := b.config(path)
	if err != nil {
		return err
	}
	cfg.Serial = c.OutOrStdout()
	if b.until != "" {
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	m, err := vm.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Stop()
	if b.until != "" {
		if _, err := m.Expect(ctx, b.until); err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "\nfarboot: the console shows %q\n", b.until)
		return nil
	}
	defer passKeys(m, c.InOrStdin(), cancel)()
	if err := m.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// config describes the machine.
func (b boot) config(path string) (vm.Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return vm.Config{}, withHint(fmt.Errorf("boot: %w", err), `"farboot build RECIPE" makes an image`)
	}
	cfg := vm.Config{Image: path, Memory: b.memory, KVM: b.kvm, Reboots: b.until == ""}
	if info.IsDir() {
		cfg.Image, cfg.Netboot, cfg.Bootfile = "", path, "boot.ipxe"
	}
	if b.usb {
		cfg.Bus = vm.USB
	}
	switch {
	case b.uefi:
		cfg.Firmware = vm.UEFI
	case b.secureBoot:
		cfg.Firmware = vm.SecureBoot
	}
	for _, model := range b.nics {
		cfg.NICs = append(cfg.NICs, vm.NIC{Model: model})
	}
	return cfg, nil
}

// serve serves the site until ctx ends.
func (b boot) serve(ctx context.Context, log io.Writer) error {
	if err := checkSite(b.site); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", b.listen)
	if err != nil {
		return withHint(fmt.Errorf("site: %w", err), "--listen names another address; the medium must have been built for it")
	}
	go func() {
		if err := site.Serve(ctx, ln, b.site, log); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintf(log, "farboot: site: %v\n", err)
		}
	}()
	return nil
}

// endKey is Ctrl-], as in telnet.
const endKey = 0x1d

// passKeys passes what is typed on a terminal to the machine's serial console
// until end key or end of input. It returns what gives the terminal back.
func passKeys(m *vm.VM, in io.Reader, end func()) (restore func()) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	go func() {
		buf := make([]byte, 256)
		for {
			n, err := f.Read(buf)
			for _, key := range buf[:n] {
				if key == endKey {
					end()
					return
				}
			}
			if err != nil || m.Type(string(buf[:n])) != nil {
				return
			}
		}
	}()
	return func() { term.Restore(int(f.Fd()), state) } //nolint:errcheck // nothing to be done
}
