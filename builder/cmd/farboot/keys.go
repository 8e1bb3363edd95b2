package main

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// keysCommand groups what is done with keys.
func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make, exchange and revoke the keys that media trust",
		Long: `keys tends the folder with public keys and trust statements. A trust statement
says which keys may sign what; the next one is signed by the root keys of the
one before, so that media in the field follow from one to the next by
themselves. docs/keys.md has the ceremonies, from the first day to a stolen key.

Each verb that makes the next statement needs root keys: have the folder or the
card with their secret parts at hand, or leave the statement pending and let
others sign it ("keys sign", "keys collect"). What it made takes effect with the
next "farboot publish" of each site.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		keysInitCommand(),
		keysListCommand(),
		keysRotateCommand(),
		keysAddCommand(),
		keysRetireCommand(),
		keysThresholdCommand(),
		keysRevokeCommand(),
		keysRevokeObjectCommand(),
		keysRenewCommand(),
		keysSignCommand(),
		keysCollectCommand(),
		keysDiscardCommand(),
	)
	return c
}

// keysInitCommand makes the first keys.
func keysInitCommand() *cobra.Command {
	var k keysInit
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the first keys and trust statement 1",
		Long: `init makes the three keys that everything else rests on. The manifest key signs
what machines boot; the root key signs who may do that, and can be put away.
The standby key is a second root key that signs nothing until the first is lost
or stolen: keep its secret part in another building.

Public keys and trust statement 1 go to the keys folder, which belongs under
version control. The secret parts go to folders of your own, and never into a
project: back them up, since media in the field trust nothing else.`,
		Example: `  farboot keys init --product demo
  farboot keys init --product fleet --passphrase --standby-secrets /media/vault`,
		Args: noArgs,
		RunE: k.run,
	}
	c.Flags().StringVar(&k.dir, "dir", "keys", "folder for public keys and trust statement")
	c.Flags().StringVar(&k.product, "product", "demo", "name of what the keys speak for; media and manifests carry it")
	c.Flags().StringVar(&k.secrets, "secrets", "", "folder for secret keys (default: farboot/secret in your configuration folder)")
	c.Flags().StringVar(&k.standby, "standby-secrets", "", "folder for the standby key, best on a medium of its own (default: that of the others)")
	c.Flags().BoolVar(&k.json, "json", false, "print the result as JSON")
	k.phrase.flags(c)
	c.Flags().BoolVar(&k.protect, "passphrase", false, "protect the secret keys with a passphrase, asked on the terminal")
	return c
}

// keysInit is one run of "farboot keys init".
type keysInit struct {
	phrase
	dir, product, secrets, standby string
	protect, json                  bool
}

func (k *keysInit) run(c *cobra.Command, _ []string) error {
	o := keys.InitOptions{
		Dir: k.dir, Project: projectOf(k.dir), Secrets: k.secrets, StandbySecrets: k.standby,
		Product: k.product, Now: time.Now(),
	}
	if k.protect || k.file != "" {
		o.Passphrase = k.askNew(c)
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
	return k.report(c, result)
}

// keysMade is what "farboot keys init" reports.
type keysMade struct {
	Root     trust.Fingerprint `json:"root"`
	Standby  trust.Fingerprint `json:"standby"`
	Manifest trust.Fingerprint `json:"manifest"`
	// Public and Secret are the files that were written.
	Public []string `json:"public"`
	Secret []string `json:"secret"`
}

// report prints what was made.
func (k *keysInit) report(c *cobra.Command, result keys.Result) error {
	if k.json {
		return printJSON(c.OutOrStdout(), keysMade{result.Root, result.Standby, result.Manifest, result.Public, result.Secret})
	}
	var rows [][2]string
	for _, path := range result.Public {
		rows = append(rows, [2]string{"public", path})
	}
	// Secret has the files of the keys in this order.
	for i, key := range [][2]string{
		{"root", string(result.Root)}, {"manifest", string(result.Manifest)}, {"standby", string(result.Standby)},
	} {
		rows = append(rows, key, [2]string{"secret", result.Secret[i] + "  (back it up)"})
	}
	table(c.OutOrStdout(), rows)
	return nil
}

// projectOf returns the project that the keys folder dir belongs to.
func projectOf(dir string) string { return filepath.Dir(filepath.Clean(dir)) }
