package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verbs calls f with the command and all its verbs.
func verbs(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		verbs(sub, f)
	}
}

// TestHelp wants help for every verb on stdout, with what a newcomer looks for:
// what it does, an example and every flag explained.
func TestHelp(t *testing.T) {
	verbs(rootCommand(), func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			args := append(strings.Fields(c.CommandPath())[1:], "--help")
			var out, errs bytes.Buffer
			if err := run(t.Context(), args, strings.NewReader(""), &out, &errs); err != nil || errs.Len() > 0 {
				t.Fatalf("%q: %v, stderr %q", args, err, errs.String())
			}
			text := out.String()
			for _, want := range []string{"Usage:\n  " + c.CommandPath(), c.Long, c.Example} {
				if !strings.Contains(text, want) {
					t.Errorf("help lacks %q:\n%s", want, text)
				}
			}
			for line := range strings.SplitSeq(text, "\n") {
				// An 80-column console; the lines of flags are pflag's to break.
				if len(line) > 80 && !strings.Contains(line, "--") {
					t.Errorf("a line of %d characters: %q", len(line), line)
				}
			}
			if c.Short == "" || c.Runnable() && !c.HasSubCommands() && (c.Example == "" || c.Long == "") {
				t.Error("no short text, long text or example")
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("flag --%s is not explained", f.Name)
				}
			})
		})
	})
}

// TestExamples wants every example in the help to be a command line that the
// command takes.
func TestExamples(t *testing.T) {
	verbs(rootCommand(), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, ">") // what the shell does
			words := splitWords(line)
			if len(words) == 0 || words[0] != "farboot" {
				t.Errorf("%s: example %q", c.CommandPath(), line)
				continue
			}
			verb, args, err := rootCommand().Find(words[1:])
			if err == nil {
				err = verb.ParseFlags(args)
			}
			if err == nil {
				err = verb.ValidateArgs(verb.Flags().Args())
			}
			if err != nil || verb.CommandPath() != c.CommandPath() {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

// splitWords splits a command line at blanks, as far as the examples need it:
// what stands in single quotes stays together.
func splitWords(line string) []string {
	var words []string
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}
