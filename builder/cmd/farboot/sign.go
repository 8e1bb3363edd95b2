package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// keysSignCommand signs what somebody else left for signing.
func keysSignCommand() *cobra.Command {
	var s signing
	c := &cobra.Command{
		Use:   "sign FILE...",
		Short: "Sign what waits for signatures",
		Long: `sign shows what a pending file says, read from the file itself, and writes a
signature beside it. It needs the file and a secret key, and no project: the
file may come by mail, and only the .sig goes back.

Without --with every key at hand signs that may, except for standby keys. On a
terminal it asks before it signs; --show signs nothing. Then
"keys collect" takes in signatures for statements, which wait in keys/pending,
and "publish --collect" those for manifests, which wait in out/NAME.pending.`,
		Example: `  farboot keys sign keys/pending/trust-2.json
  farboot keys sign trust-2.json --with gpg:1F623CC76F8777BCE5D903487EC13A44807DCA53
  farboot keys sign manifest-amd64-stable-1.7.json --with file:/media/vault/key.pgp`,
		Args: rangeArgs(1, maxFiles, "the files to sign"),
		RunE: s.run,
	}
	keysDirFlag(c, &s.dir)
	s.secretFlags.flags(c, "with")
	c.Flags().BoolVar(&s.json, "json", false, "print the result as JSON")
	c.Flags().BoolVar(&s.show, "show", false, "show what the files say, and sign nothing")
	return c
}

// maxFiles is how many files a verb takes: as many as a shell passes.
const maxFiles = math.MaxInt

// signing is one run of "farboot keys sign".
type signing struct {
	secretFlags
	dir        string
	json, show bool
}

// signed is what "farboot keys sign" reports of one file by one key.
type signed struct {
	keys.Request
	Signer    trust.Fingerprint `json:"signer"`
	Signature string            `json:"signature"`
}

func (s *signing) run(c *cobra.Command, files []string) error {
	set, err := keys.Load(s.dir)
	if errors.Is(err, keys.ErrMissing) {
		set, err = nil, nil // a desk with nothing but the file and a key
	}
	if err != nil {
		return err
	}
	var all []signed
	for _, file := range files {
		done, err := s.sign(c, set, file)
		if err != nil {
			return err
		}
		all = append(all, done...)
	}
	if s.json {
		return printJSON(c.OutOrStdout(), map[string]any{"signed": all})
	}
	for _, one := range all {
		table(c.OutOrStdout(), [][2]string{{"signed by", string(one.Signer)}, {"signature", one.Signature}})
	}
	return nil
}

// sign shows what a file says and signs it.
func (s *signing) sign(c *cobra.Command, set *keys.Set, file string) ([]signed, error) {
	r, err := keys.ReadRequest(set, file)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s is a %s:\n", r.File, r.Purpose)
	for _, line := range r.Summary {
		fmt.Fprintf(c.ErrOrStderr(), "  %s\n", line)
	}
	if s.show {
		return nil, nil
	}
	signers, err := s.signersFor(c, set, r)
	if err != nil {
		return nil, err
	}
	if err := confirm(c, "sign it?"); err != nil {
		return nil, err
	}
	var all []signed
	for _, k := range signers {
		sig, err := keys.SignRequest(r, k, time.Now())
		if err != nil {
			return nil, err
		}
		all = append(all, signed{r, k.Fingerprint, sig})
	}
	return all, nil
}

// signersFor returns the keys that --with names, or else those at hand that may
// sign. A standby key signs only where it is named.
func (s *signing) signersFor(c *cobra.Command, set *keys.Set, r keys.Request) ([]keys.SigningKey, error) {
	if len(s.signWith) > 0 {
		return s.signers(c, set)
	}
	folders, err := s.folders()
	if err != nil {
		return nil, err
	}
	hand, err := r.AtHand(folders)
	if err != nil {
		return nil, err
	}
	if len(hand.Signers) > 0 {
		return s.named(c, nil, hand.Signers)
	}
	err = fmt.Errorf("no secret key is at hand that may sign a %s", r.Purpose)
	if len(hand.Standby) > 0 {
		return nil, withHint(err, "standby key %s is here; --with %s lets it sign", hand.Standby[0], short(hand.Standby[0]))
	}
	return nil, withHint(err, "--with gpg:FINGERPRINT or --with file:PATH names one, --secrets the folder where it lies")
}

// errDeclined is the error where the person at the terminal said no.
var errDeclined = errors.New("nothing was signed")

// confirm asks the person at the terminal, if there is one.
func confirm(c *cobra.Command, question string) error {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	line := make(chan string, 1)
	go func() {
		text, _ := readLine(in)
		line <- text
	}()
	select {
	case text := <-line:
		if yes := strings.ToLower(strings.TrimSpace(text)); yes != "y" && yes != "yes" {
			return errDeclined
		}
		return nil
	case <-c.Context().Done():
		return context.Cause(c.Context())
	}
}

// readLine reads no further than the end of a line: what follows may be a
// passphrase for somebody else to read.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' || err != nil {
			return string(line), err
		}
		line = append(line, one[:n]...)
	}
}

// keysCollectCommand takes signatures in.
func keysCollectCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "collect [FILE|FOLDER|SIGNATURE...]",
		Short: "Take in the signatures that others made",
		Long: `collect looks at the signatures beside pending files, in keys/pending unless
files or folders are named, in whatever order they came; a .sig that came by
mail can be named as well. It says whose count, and who is still missing. A
statement with enough of them comes into force. For a manifest "farboot publish
--collect" does that, and publishes it.

Exit status 3 means that signatures are still missing.`,
		Example: `  farboot keys collect
  farboot keys collect mail/trust-2.json.1F623CC76F8777BC.sig`,
		Args: rangeArgs(0, maxFiles, "files, folders or signatures"),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := keys.Load(dir)
			if err != nil {
				return err
			}
			all, err := keys.Collect(set, time.Now(), args...)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), map[string]any{"collected": all})
			} else {
				printCollected(c.OutOrStdout(), all)
			}
			return errors.Join(err, stillMissing(all))
		},
	}
	keysDirFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// printCollected prints what became of each pending file, but for those that
// nobody can sign: they are an error.
func printCollected(w io.Writer, all []keys.Collected) {
	if len(all) == 0 {
		fmt.Fprintln(w, "nothing waits for signatures")
	}
	for _, r := range all {
		if r.Purpose == "" {
			continue
		}
		rows := append([][2]string{{"file", r.File}}, fingerprintRows("signed by", r.Signers)...)
		for _, text := range r.Refused {
			rows = append(rows, [2]string{"refused", text})
		}
		if r.Done != "" {
			rows = append(rows, [2]string{"done", r.Done})
		} else {
			rows = append(rows, [2]string{"missing", fmt.Sprintf("%d more of %s", r.Needed, joinFingerprints(r.Missing))})
		}
		table(w, rows)
	}
}

// stillMissing returns the error of the first that waits on, or else of the first
// that waits in vain.
func stillMissing(all []keys.Collected) error {
	var vain error
	for _, r := range all {
		switch {
		case r.Purpose == "" && vain == nil:
			vain = withHint(fmt.Errorf("no signature helps: %s", strings.Join(r.Refused, "; ")), `"farboot keys discard %s" drops it`, r.File)
		case r.Purpose != "" && r.Done == "":
			return pending(true, r.File, r.Missing)
		}
	}
	return vain
}

// keysDiscardCommand drops what waits for signatures.
func keysDiscardCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "discard FILE...",
		Short: "Drop what waits for signatures",
		Long: `discard removes pending files, each with its text and the signatures beside it.
Nothing that is in force changes. A new secret key that was made for a statement
stays where it is, and no statement lists it: delete it.

A statement that waits for somebody on holiday must not stop an urgent
revocation: drop it, revoke, and make it anew.`,
		Example: "  farboot keys discard keys/pending/trust-2.json",
		Args:    rangeArgs(1, maxFiles, "the files to drop"),
		RunE: func(c *cobra.Command, files []string) error {
			for _, file := range files {
				if _, err := os.Stat(file + ".txt"); err != nil {
					return fmt.Errorf("%s: is nothing that waits for signatures: %w", file, err)
				}
				if err := keys.Discard(file); err != nil {
					return err
				}
				table(c.OutOrStdout(), [][2]string{{"dropped", file}})
			}
			return nil
		},
	}
}
