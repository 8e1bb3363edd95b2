package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// run is the whole command: it parses args, does what they say and reports a
// failure on stderr before it returns it. The first interrupt cancels what is
// under way, the second ends the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		complain(stderr, err)
	}
	return err
}

// rootCommand puts the verbs together.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "farboot",
		Short: "Boot media for machines that nobody can walk up to",
		Long: `farboot builds boot media for machines that nobody can walk up to, and the
sites that tell such machines what to boot.

  farboot keys init                       once: root and manifest key, statement
  farboot build recipes/netboot.yaml      a medium: out/netboot.iso, out/netboot
  farboot publish recipes/demo-site.yaml  a site: out/site/
  farboot boot out/netboot.iso            try it in QEMU`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{err: err, command: c.CommandPath()} })
	root.AddCommand(
		keysCommand(),
		buildCommand(),
		publishCommand(),
		serveCommand(),
		machinesCommand(),
		castCommand(),
		powerCommand(),
		cloneCommand(),
		bootCommand(),
		vmCommand(),
		captureCommand(),
		inspectCommand(),
		writeCommand(),
		verifyCommand(),
		lockCommand(),
		schemaCommand(),
	)
	return root
}

// usageError is a command line that farboot does not understand.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exactArgs wants n arguments and says which, and flags that go together.
func exactArgs(n int, what string) cobra.PositionalArgs { return rangeArgs(n, n, what) }

// rangeArgs wants at least min and at most max arguments, as exactArgs does.
func rangeArgs(min, max int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := c.ValidateFlagGroups()
		if err == nil && (len(args) < min || len(args) > max) {
			err = errors.New(c.Name() + ": want " + what)
		}
		if err != nil {
			return &usageError{err: err, command: c.CommandPath()}
		}
		return nil
	}
}

// noArgs wants no arguments: what stands there is no verb.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := &usageError{err: fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()), command: c.CommandPath()}
	c.SuggestionsMinimumDistance = 2 // letters; cobra's own default, of which this call does not know
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return withHint(err, "did you mean %q?", near[0])
	}
	return err
}

// version is the module's version that the Go linker recorded.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version + " " + info.GoVersion
	}
	return "unknown"
}
