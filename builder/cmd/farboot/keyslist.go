package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/trust"
)

// keysListCommand shows a keys folder.
func keysListCommand() *cobra.Command {
	var dir string
	var secret secretFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show roles, keys, statements, and what will go wrong",
		Long: `list shows who may sign what by the newest trust statement, which secret keys
are at hand on this desk, who signed each statement, what was revoked, and what
waits for signatures. It warns before anything expires, and where one lost key
would be the end. It changes nothing and unlocks nothing.`,
		Example: `  farboot keys list
  farboot keys list --json --secrets /media/vault`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			set, err := keys.Load(dir)
			if err != nil {
				return err
			}
			folders, err := secret.folders()
			if err != nil {
				return err
			}
			r, err := set.Report(folders, time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			printKeys(c.OutOrStdout(), r)
			warnings(c.ErrOrStderr(), r.Warnings)
			return nil
		},
	}
	keysDirFlag(c, &dir)
	secret.dirFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// warnings prints what stops nothing yet.
func warnings(w io.Writer, list []string) {
	for _, text := range list {
		fmt.Fprintf(w, "farboot: warning: %s\n", text)
	}
}

// printKeys prints the state of a keys folder for people.
func printKeys(w io.Writer, r keys.Report) {
	table(w, [][2]string{
		{"product", r.Product},
		{"statement", fmt.Sprintf("%d of %s, expires %s", r.Version, day(r.Issued), day(r.Expires))},
		{"epoch", fmt.Sprint(r.Epoch)},
	})
	for _, role := range r.Roles {
		fmt.Fprintf(w, "\n%s: %d of %d must sign\n", role.Role, role.Threshold, len(role.Keys))
		for _, k := range role.Keys {
			fmt.Fprintf(w, "  %s  %s\n", k.Fingerprint, describeKey(k))
		}
	}
	fmt.Fprint(w, "\nstatements\n")
	for _, s := range r.Statements {
		fmt.Fprintf(w, "  %d  %s  epoch %d, signed by %s\n", s.Version, day(s.Issued), s.Epoch, joinFingerprints(s.Signers))
	}
	printRevoked(w, r.Revoked)
	for i, p := range r.Pending {
		if i == 0 {
			fmt.Fprint(w, "\nwaiting for signatures\n")
		}
		fmt.Fprintf(w, "  %s  %s\n", p.File, waitsFor(p))
	}
}

// waitsFor tells who is missing.
func waitsFor(p keys.Collected) string {
	switch {
	case p.Purpose == "":
		return "cannot be signed: " + strings.Join(p.Refused, "; ")
	case p.Needed == 0:
		return "has enough, and waits to be collected"
	}
	return fmt.Sprintf("%d more of %s", p.Needed, joinFingerprints(p.Missing))
}

// describeKey tells what a key is and where its secret part lies.
func describeKey(k keys.KeyReport) string {
	text := k.Name + ", made " + day(k.Made)
	if k.Standby {
		text += ", standby"
	}
	if !k.Expires.IsZero() {
		text += ", expires " + day(k.Expires)
	}
	if len(k.Secret) > 0 {
		text += ", secret part: " + strings.Join(k.Secret, ", ")
	}
	return text
}

// printRevoked prints what was revoked, if anything was.
func printRevoked(w io.Writer, r trust.Revoked) {
	if len(r.Keys)+len(r.Objects) == 0 {
		return
	}
	fmt.Fprint(w, "\nrevoked\n")
	for _, k := range r.Keys {
		fmt.Fprintf(w, "  key %s  since %s: %s\n", k.Fingerprint, day(k.Since), k.Reason)
	}
	for _, o := range r.Objects {
		fmt.Fprintf(w, "  object %s  since %s: %s\n", o.SHA256, day(o.Since), o.Reason)
	}
}

// joinFingerprints lists keys in a sentence.
func joinFingerprints(list []trust.Fingerprint) string {
	var text []string
	for _, fpr := range list {
		text = append(text, string(fpr))
	}
	return strings.Join(text, ", ")
}
