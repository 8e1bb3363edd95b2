package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/object"
)

// keysRevokeCommand says that a key is not to be believed any more.
func keysRevokeCommand() *cobra.Command {
	var y ceremony
	var change keys.Revoke
	c := &cobra.Command{
		Use:   "revoke FINGERPRINT --reason TEXT",
		Short: "Say for ever that a key is not to be believed",
		Long: `revoke makes a trust statement that names a lost or stolen key. Machines that
have seen it believe nothing that this key signed, whenever it did. That cannot
be taken back.

With --replace a new key takes its place at once; a role must not be left with
fewer keys than have to sign. The root keys that are left must sign; after the
theft of the only one --sign-with has the standby key do it. After a manifest key a new epoch begins, in which
the versions that a thief may have used up mean nothing: publish every site.`,
		Example: `  farboot keys revoke EF241EA01CFB5433 --reason stolen --replace
  farboot keys revoke 1F623CC76F8777BC --reason stolen --replace --secrets /media/standby --sign-with 7EC13A44807DCA53`,
		Args: exactArgs(1, "one fingerprint"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(set *keys.Set) (_ []keys.Change, err error) {
				if change.Fingerprint, err = findKey(set, args[0]); err != nil {
					return nil, err
				}
				y.announce = fmt.Sprintf("revoking key %s for ever: %s", change.Fingerprint, change.Reason)
				return []keys.Change{change}, nil
			})
		},
	}
	y.flags(c, true)
	reasonFlag(c, &change.Reason)
	c.Flags().BoolVar(&change.Replace, "replace", false, "make a new key for the same roles")
	c.Flags().StringVar(&change.NewKey, "new-key", "", "file of a public key that takes its place")
	return c
}

// keysRevokeObjectCommand says that an object is not to be booted any more.
func keysRevokeObjectCommand() *cobra.Command {
	var y ceremony
	var change keys.RevokeObject
	c := &cobra.Command{
		Use:   "revoke-object SHA256 --reason TEXT",
		Short: "Say for ever that a kernel or initrd is not to be booted",
		Long: `revoke-object makes a trust statement that names a kernel or initrd by its hash.
Machines that have seen it boot no manifest with it, whoever signed that. It
cannot be taken back. The hash is the file's name under objects/ of a site.`,
		Example: "  farboot keys revoke-object d8808aa4ca188560da1e6d749dcb930c87a5fd8b11ebff1f3fa6d728af35203d --reason CVE-2026-1234",
		Args:    exactArgs(1, "one SHA-256, 64 hex digits"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(*keys.Set) (_ []keys.Change, err error) {
				if change.SHA256, err = object.ParseID(args[0]); err != nil {
					return nil, &usageError{err: err, command: c.CommandPath()}
				}
				y.announce = fmt.Sprintf("revoking object %s for ever: %s", change.SHA256, change.Reason)
				return []keys.Change{change}, nil
			})
		},
	}
	y.flags(c, false)
	reasonFlag(c, &change.Reason)
	return c
}

// reasonFlag adds --reason, without which nothing is revoked.
func reasonFlag(c *cobra.Command, reason *string) {
	c.Flags().StringVar(reason, "reason", "", "what happened, in a few words that people will read in years")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if *reason != "" {
			return nil
		}
		return withHint(&usageError{err: fmt.Errorf("%s: --reason is missing", c.Name()), command: c.CommandPath()},
			"--reason says what happened, to people who read it in years: --reason stolen")
	}
}

// keysRenewCommand extends the statement's life.
func keysRenewCommand() *cobra.Command {
	var y ceremony
	c := &cobra.Command{
		Use:   "renew",
		Short: "Make the next statement with a later expiry",
		Long: `renew makes the next trust statement with the same keys and a new expiry, five
years from now. Every other verb that makes a statement does that as well.`,
		Example: "  farboot keys renew --secrets /media/vault",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return y.apply(c, func(*keys.Set) ([]keys.Change, error) { return []keys.Change{keys.Renew{}}, nil })
		},
	}
	y.flags(c, false)
	return c
}

// day shows a date to people.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
