package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/keys"
)

// keysCommand groups what is done with keys.
func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make the keys that media trust",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(keysInitCommand())
	return c
}

// keysInitCommand makes the first keys.
func keysInitCommand() *cobra.Command {
	var k keysInit
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a root key, a manifest key and trust statement 1",
		Long: `init makes the two keys that everything else rests on. The manifest key signs
what machines boot; the root key signs who may do that, and can be put away.
Public keys and trust statement 1 go to the keys folder, which belongs under
version control. The secret parts go to a folder of your own, and never into a
project: back them up, since media in the field trust nothing else.`,
		Example: `  farboot keys init --product demo
  farboot keys init --product fleet --passphrase --secrets /media/vault/farboot`,
		Args: noArgs,
		RunE: k.run,
	}
	c.Flags().StringVar(&k.dir, "dir", "keys", "folder for public keys and trust statement")
	c.Flags().StringVar(&k.product, "product", "demo", "name of what the keys speak for; media and manifests carry it")
	k.secret.flags(c)
	c.Flags().BoolVar(&k.ask, "passphrase", false, "protect the secret keys with a passphrase, asked on the terminal")
	return c
}

// keysInit is one run of "farboot keys init".
type keysInit struct {
	dir, product string
	ask          bool
	secret       secretFlags
}

func (k *keysInit) run(c *cobra.Command, _ []string) error {
	secrets, err := k.secret.folder()
	if err != nil {
		return err
	}
	o := keys.InitOptions{Dir: k.dir, Project: filepath.Dir(filepath.Clean(k.dir)), Secrets: secrets, Product: k.product, Now: time.Now()}
	if k.ask || k.secret.passphraseFile != "" {
		o.Passphrase = k.secret.passphrase(c, true)
	}
	result, err := keys.Init(o)
	switch {
	case errors.Is(err, keys.ErrExists):
		return withHint(err, "--dir names another folder for other keys")
	case errors.Is(err, keys.ErrEmptyPassphrase):
		return withHint(err, "give one, or leave out --passphrase and --passphrase-file for keys without protection")
	}
	if err != nil {
		return err
	}
	var rows [][2]string
	for _, path := range result.Public {
		rows = append(rows, [2]string{"public", path})
	}
	for _, path := range result.Secret {
		rows = append(rows, [2]string{"secret", path + "  (back it up)"})
	}
	table(c.OutOrStdout(), append(rows, [2]string{"root", string(result.Root)}, [2]string{"manifest", string(result.Manifest)}))
	return nil
}

// secretFlags say where secret keys are and how they are opened.
type secretFlags struct{ dir, passphraseFile string }

// flags adds the flags to a command.
func (s *secretFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.dir, "secrets", "", "folder for secret keys (default: farboot/secret in your configuration folder)")
	c.Flags().StringVar(&s.passphraseFile, "passphrase-file", "", "file whose first line is the passphrase")
}

// folder returns the folder for secret keys.
func (s *secretFlags) folder() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	return keys.DefaultSecrets()
}

// passphrase returns what asks for a passphrase: the file's first line, or else
// the person at the terminal, twice where it is a new one.
func (s *secretFlags) passphrase(c *cobra.Command, isNew bool) keys.Passphrase {
	return func(prompt string) ([]byte, error) {
		if s.passphraseFile != "" {
			text, err := os.ReadFile(s.passphraseFile)
			if err != nil {
				// Not %w: who asks takes a missing file for a missing key.
				return nil, fmt.Errorf("passphrase: %v", err)
			}
			line, _, _ := bytes.Cut(text, []byte("\n"))
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		first, err := askHidden(c, prompt)
		if err != nil || !isNew || len(first) == 0 {
			return first, err
		}
		second, err := askHidden(c, "once more")
		if err == nil && !bytes.Equal(first, second) {
			err = errors.New("passphrase: the two differ")
		}
		return first, err
	}
}

// askHidden asks for a line that is not shown.
func askHidden(c *cobra.Command, prompt string) ([]byte, error) {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, withHint(errors.New("passphrase: there is no terminal to ask on"), "--passphrase-file reads it from a file")
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: ", prompt)
	defer io.WriteString(c.ErrOrStderr(), "\n") //nolint:errcheck // a missing newline hurts nobody
	return term.ReadPassword(int(in.Fd()))
}
