package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// ceremony is one run of a verb that makes the next trust statement.
type ceremony struct {
	secretFlags
	dir, fresh, standby string
	protect, json       bool
	// announce is printed once nothing speaks against the change, before anybody
	// is asked for a passphrase.
	announce string
}

// flags adds what such verbs have in common; those that make keys have more.
func (y *ceremony) flags(c *cobra.Command, makesKeys bool) {
	keysDirFlag(c, &y.dir)
	y.secretFlags.flags(c, "sign-with")
	c.Flags().BoolVar(&y.json, "json", false, "print the result as JSON")
	if !makesKeys {
		return
	}
	c.Flags().BoolVar(&y.protect, "passphrase", false, "protect a new secret key with a passphrase, asked on the terminal (default: if keys at hand are)")
	c.Flags().StringVar(&y.fresh, "new-secrets", "", "folder for new secret keys (default: where the replaced key lies, or else farboot/secret in your configuration folder)")
	c.Flags().StringVar(&y.standby, "standby-secrets", "", "folder for a new standby key (default: as for others)")
}

// keysDirFlag adds --dir.
func keysDirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", "keys", "the keys folder")
}

// apply makes the statement that says what changes returns for the keys there
// are, and reports it.
func (y *ceremony) apply(c *cobra.Command, changes func(*keys.Set) ([]keys.Change, error)) error {
	set, end, err := keys.Begin(y.dir)
	if err != nil {
		return err
	}
	defer end()
	list, err := changes(set)
	if err != nil {
		return err
	}
	o, err := y.options(c, set)
	if err != nil {
		return err
	}
	out, err := set.Apply(o, list...)
	if err != nil {
		return ceremonyHint(c, set, err)
	}
	if err := y.report(c, out); err != nil {
		return err
	}
	err = pending(out.Pending, out.File, out.Missing)
	if err != nil && len(out.Standby) > 0 {
		return withHint(err, "standby key %s is here; \"farboot keys sign %s --with %s\" lets it sign", out.Standby[0], out.File, short(out.Standby[0]))
	}
	return err
}

// short is as much of a fingerprint as people need.
func short(fpr trust.Fingerprint) string { return string(fpr[len(fpr)-16:]) }

// options says where the ceremony takes place and who takes part.
func (y *ceremony) options(c *cobra.Command, set *keys.Set) (keys.Options, error) {
	folders, err := y.folders()
	if err != nil {
		return keys.Options{}, err
	}
	o := keys.Options{
		Dir: y.dir, Project: projectOf(y.dir), Secrets: folders, NewSecrets: y.fresh, StandbySecrets: y.standby,
		Now: time.Now(), Passphrase: y.ask(c),
	}
	if y.announce != "" {
		o.Announce = func([]string) { fmt.Fprintln(c.ErrOrStderr(), y.announce) }
	}
	protect := y.protect || y.file != ""
	if !protect && !c.Flags().Changed("passphrase") {
		if protect, err = set.Protected(folders); err != nil {
			return o, err
		}
	}
	if protect {
		o.NewPassphrase = y.askNew(c)
	}
	o.Signers, err = y.signers(c, set)
	return o, err
}

// ceremonyHint adds ways out to what a ceremony refuses.
func ceremonyHint(c *cobra.Command, set *keys.Set, err error) error {
	var standby *keys.StandbyError
	switch {
	case errors.As(err, &standby):
		return withHint(err, "--secrets names the folder of the root key; if that is lost or stolen, --sign-with %s has the standby key sign", short(standby.Fingerprint))
	case errors.Is(err, keys.ErrTooFewKeys) && c.Name() == "revoke":
		return withHint(err, `--replace puts a new key in its place, "farboot keys add" adds one first, "farboot keys threshold" asks for fewer`)
	case errors.Is(err, keys.ErrTooFewKeys):
		return withHint(err, `"farboot keys add" lists one more first, "farboot keys threshold" asks for fewer`)
	case errors.Is(err, keys.ErrPending):
		return withHint(err, `"farboot keys collect" puts it in force once enough have signed, "farboot keys discard %s" drops it`, set.NextRequest())
	case errors.Is(err, keys.ErrUnreachable):
		return withHint(err, "media in the field know the old root keys only; docs/keys.md has what is left to do")
	}
	return err
}

// report prints what the statement changes.
func (y *ceremony) report(c *cobra.Command, out keys.Outcome) error {
	if y.json {
		return printJSON(c.OutOrStdout(), out)
	}
	rows := [][2]string{{"statement", fmt.Sprintf("%d, epoch %d: %s", out.Version, out.Epoch, out.File)}}
	for _, text := range out.Changes {
		rows = append(rows, [2]string{"change", text})
	}
	for _, k := range out.Made {
		role := string(k.Role)
		if k.Standby {
			role = "standby"
		}
		rows = append(rows, [2]string{"new key", fmt.Sprintf("%s %s", role, k.Fingerprint)}, [2]string{"secret", k.Secret + "  (back it up)"})
	}
	rows = append(rows, fingerprintRows("signed by", out.Signers)...)
	if out.Warning != "" {
		rows = append(rows, [2]string{"warning", out.Warning})
	}
	if !out.Pending {
		rows = append(rows, [2]string{"next", `publish each site, so that machines in the field follow; rebuilt media begin here`})
	}
	table(c.OutOrStdout(), rows)
	return nil
}

// fingerprintRows is a row for each key.
func fingerprintRows(title string, list []trust.Fingerprint) [][2]string {
	var rows [][2]string
	for _, fpr := range list {
		rows = append(rows, [2]string{title, string(fpr)})
	}
	return rows
}

// pending returns the error of what waits for signatures, or nil.
func pending(is bool, file string, missing []trust.Fingerprint) error {
	if !is {
		return nil
	}
	err := fmt.Errorf("%w: %s", keys.ErrPending, file)
	if len(missing) > 0 {
		err = fmt.Errorf("%w; it can be signed by %s", err, joinFingerprints(missing))
	}
	return withHint(err, `"farboot keys sign %s" where the secret key is, then "farboot keys collect"`, file)
}
