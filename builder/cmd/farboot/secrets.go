package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/keys"
)

// secretFlags say where secret keys are, how they are opened, and which sign.
type secretFlags struct {
	phrase
	dirs     []string
	signWith []string
}

// flags adds the flags to a command that signs, with the one that names a
// signer as the command calls it.
func (s *secretFlags) flags(c *cobra.Command, with string) {
	s.dirFlag(c)
	c.Flags().StringArrayVar(&s.signWith, with, nil, "sign with this key and no other at hand, again for more: gpg:FINGERPRINT, file:PATH or a fingerprint")
	s.phrase.flags(c)
}

// dirFlag adds --secrets.
func (s *secretFlags) dirFlag(c *cobra.Command) {
	c.Flags().StringArrayVar(&s.dirs, "secrets", nil, "folder for secret keys, again for more (default: farboot/secret in your configuration folder)")
}

// folders returns the folders for secret keys. One that is named must exist: a
// slip would look like a key that is elsewhere.
func (s *secretFlags) folders() ([]string, error) {
	for _, dir := range s.dirs {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, withHint(fmt.Errorf("--secrets %q: there is no such folder", dir), "is the stick mounted?")
		}
	}
	if len(s.dirs) > 0 {
		return s.dirs, nil
	}
	dir, err := keys.DefaultSecrets()
	return []string{dir}, err
}

// signers returns the keys that the command line names as signers.
func (s *secretFlags) signers(c *cobra.Command, set *keys.Set) ([]keys.SigningKey, error) {
	return s.named(c, set, s.signWith)
}

// named returns the keys of these names. The set, which may be nil, completes
// fingerprints.
func (s *secretFlags) named(c *cobra.Command, set *keys.Set, names []string) ([]keys.SigningKey, error) {
	folders, err := s.folders()
	if err != nil {
		return nil, err
	}
	var list []keys.SigningKey
	for _, text := range names {
		full, err := completeSigner(set, text)
		if err != nil {
			return nil, err
		}
		k, err := keys.ParseSigner(full, folders, s.ask(c))
		if err != nil {
			return nil, fmt.Errorf("signer %s: %w", text, err)
		}
		list = append(list, k)
	}
	return list, nil
}

// completeSigner writes the fingerprint in what a user calls a signer out in
// full, where the set knows it. A whole one that it does not know may be gpg's.
func completeSigner(set *keys.Set, text string) (string, error) {
	kind, fpr, found := strings.Cut(text, ":")
	if !found {
		kind, fpr = "", text
	}
	if set == nil || kind == "file" {
		return text, nil
	}
	full, err := findKey(set, fpr)
	if err != nil {
		if _, whole := keys.ParseFingerprint(fpr); whole == nil {
			return text, nil
		}
		return "", fmt.Errorf("signer %s: %w", text, err)
	}
	if found {
		return kind + ":" + string(full), nil
	}
	return string(full), nil
}

// phrase is how passphrases are given.
type phrase struct{ file string }

// flags adds the flag to a command.
func (p *phrase) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.file, "passphrase-file", "", "file whose first line is the passphrase")
}

// ask returns what asks for the passphrase of a key: the file's first line, or
// else the person at the terminal.
func (p *phrase) ask(c *cobra.Command) keys.Passphrase {
	return func(prompt string) ([]byte, error) {
		if p.file == "" {
			return askHidden(c, prompt)
		}
		text, err := os.ReadFile(p.file)
		if err != nil {
			// Not %w: who asks takes a missing file for a missing key.
			return nil, fmt.Errorf("passphrase: %v", err)
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
}

// askNew is ask for the passphrase of a new key: a person types it twice.
func (p *phrase) askNew(c *cobra.Command) keys.Passphrase {
	ask := p.ask(c)
	if p.file != "" {
		return ask
	}
	return func(prompt string) ([]byte, error) {
		first, err := ask(prompt)
		if err != nil || len(first) == 0 {
			return first, err
		}
		second, err := ask("once more")
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
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: ", prompt)
	defer io.WriteString(c.ErrOrStderr(), "\n") //nolint:errcheck // a missing newline hurts nobody
	typed := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		typed <- answer{line, err}
	}()
	select {
	case a := <-typed:
		return a.line, a.err
	case <-c.Context().Done():
		return nil, errors.Join(context.Cause(c.Context()), term.Restore(fd, before))
	}
}

// answer is what somebody typed.
type answer struct {
	line []byte
	err  error
}
