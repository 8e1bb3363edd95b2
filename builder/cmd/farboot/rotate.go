package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
)

// keysRotateCommand exchanges a key.
func keysRotateCommand() *cobra.Command {
	var y ceremony
	var old, file string
	var keep bool
	c := &cobra.Command{
		Use:   "rotate manifest|root",
		Short: "Have a new key take over from an old one",
		Long: `rotate makes a new key for the role, and the trust statement in which it takes
the place of the old one. Media in the field follow with the next publication;
nobody has to touch them. Do it once a year, and when somebody leaves.

With --keep-old both sign until "keys retire" ends that. With --new-key somebody
else, gpg or a card keeps the secret part. A stolen key is not rotated but
revoked. One that nobody has any more can be rotated: the root key signs for a
manifest key and for a standby key; for a lost root key the standby key does,
where --sign-with names it.`,
		Example: `  farboot keys rotate manifest
  farboot keys rotate root --secrets /media/vault
  farboot keys rotate root --secrets /media/standby --sign-with 7EC13A44807DCA53
  farboot keys rotate manifest --new-key card.asc --keep-old`,
		Args: exactArgs(1, "a role, root or manifest"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(set *keys.Set) (_ []keys.Change, err error) {
				change := keys.Rotate{NewKey: file, KeepOld: keep}
				if change.Role, err = parseRole(c, args[0]); err != nil {
					return nil, err
				}
				if old != "" {
					change.Old, err = findKey(set, old)
				}
				return []keys.Change{change}, err
			})
		},
	}
	y.flags(c, true)
	c.Flags().StringVar(&old, "old", "", "fingerprint of the key that leaves, where the role has several")
	c.Flags().BoolVar(&keep, "keep-old", false, "leave the old key in the role as well")
	c.Flags().StringVar(&file, "new-key", "", "file of a public key to take, instead of making one")
	return c
}

// keysAddCommand lists another key.
func keysAddCommand() *cobra.Command {
	var y ceremony
	var standby bool
	c := &cobra.Command{
		Use:   "add manifest|root [FILE]",
		Short: "List one more key for a role",
		Long: `add lists one more key for a role: the public key in FILE, armored or binary, as
"gpg --export" writes it, or a new one. How many of a role's keys must sign stays
as it is; "keys threshold" changes that.`,
		Example: `  farboot keys add manifest alice.asc
  farboot keys add manifest
  farboot keys add root --standby --standby-secrets /media/vault`,
		Args: rangeArgs(1, 2, "a role, root or manifest, and at most one file"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(*keys.Set) ([]keys.Change, error) {
				role, err := parseRole(c, args[0])
				change := keys.AddKey{Role: role, Standby: standby}
				if len(args) == 2 {
					change.File = args[1]
				}
				return []keys.Change{change}, err
			})
		},
	}
	y.flags(c, true)
	c.Flags().BoolVar(&standby, "standby", false, "the new root key is for the day when the others are lost or stolen")
	return c
}

// keysRetireCommand takes a key out of its roles.
func keysRetireCommand() *cobra.Command {
	var y ceremony
	c := &cobra.Command{
		Use:   "retire FINGERPRINT",
		Short: "Take a key out of its roles, in good standing",
		Long: `retire makes a trust statement without the key. Nothing is said against it: it
could be added again. A key that was lost or stolen is revoked instead.`,
		Example: "  farboot keys retire EF241EA01CFB5433",
		Args:    exactArgs(1, "one fingerprint"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(set *keys.Set) ([]keys.Change, error) {
				fpr, err := findKey(set, args[0])
				return []keys.Change{keys.Retire{Fingerprint: fpr}}, err
			})
		},
	}
	y.flags(c, false)
	return c
}

// keysThresholdCommand sets how many must sign.
func keysThresholdCommand() *cobra.Command {
	var y ceremony
	c := &cobra.Command{
		Use:   "threshold manifest|root N",
		Short: "Set how many keys of a role must sign",
		Long: `threshold makes a trust statement by which N keys of the role must sign, each by
its own. With 2 nobody publishes alone, and one stolen key boots nothing.`,
		Example: "  farboot keys threshold manifest 2",
		Args:    exactArgs(2, "a role, root or manifest, and a number"),
		RunE: func(c *cobra.Command, args []string) error {
			return y.apply(c, func(*keys.Set) ([]keys.Change, error) {
				role, err := parseRole(c, args[0])
				if err != nil {
					return nil, err
				}
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 1 {
					return nil, &usageError{err: fmt.Errorf("threshold %q: want a number from 1", args[1]), command: c.CommandPath()}
				}
				return []keys.Change{keys.SetThreshold{Role: role, Threshold: n}}, nil
			})
		},
	}
	y.flags(c, false)
	return c
}

// parseRole reads a role from the command line.
func parseRole(c *cobra.Command, text string) (keys.Role, error) {
	role, err := keys.ParseRole(text)
	if err != nil {
		return "", &usageError{err: err, command: c.CommandPath()}
	}
	return role, nil
}
