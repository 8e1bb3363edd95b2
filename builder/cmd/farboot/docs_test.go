package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docBlock is a fenced block of a page: commands, or what they print.
type docBlock struct {
	line int    // of the page, where it begins
	kind string // "sh", "sh alice" or "text"
	text string
}

// docBlocks returns the fenced blocks of a page that have a kind.
func docBlocks(page string) []docBlock {
	var all []docBlock
	var open *docBlock
	for i, line := range strings.Split(page, "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && open != nil:
			open.text += line + "\n"
		case fence && open == nil:
			open = &docBlock{line: i + 1, kind: kind}
		case fence:
			all, open = append(all, *open), nil
		}
	}
	return all
}

// TestCeremonies runs docs/keys.md from start to end, as one operator would in
// years: every block of commands with the real command, in one project and one
// home folder. What the page shows as output must be in it, but for
// fingerprints, hashes and dates.
func TestCeremonies(t *testing.T) {
	page, err := os.ReadFile("../../../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	agent(t)
	d := &doc{world: newWorld(t, t.TempDir(), newArchive(t)), vars: filepath.Join(t.TempDir(), "vars")}
	t.Cleanup(d.close)
	if err := d.ship("netboot.yaml", "demo-site.yaml"); err != nil {
		t.Fatal(err)
	}
	d.env["GNUPGHOME"] = docGPG(t)
	var out string
	commands := 0
	for _, b := range docBlocks(string(page)) {
		switch b.kind {
		case "sh", "sh alice", "sh bob":
			if out, err = d.run(t, b); err != nil {
				t.Fatalf("docs/keys.md:%d: %v\n%s\n%s", b.line, err, b.text, out)
			}
			commands++
		case "text":
			d.compare(t, b, out)
		default:
			t.Errorf("docs/keys.md:%d: a block of kind %q", b.line, b.kind)
		}
	}
	if commands < 10 {
		t.Errorf("%d blocks of commands", commands)
	}
}

// docGPG returns an empty home for gpg, that asks nobody. Its name is short,
// for the agent's socket.
func docGPG(t *testing.T) string {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing: apt-get install gnupg")
	}
	dir, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", dir, "--kill", "gpg-agent").Run() //nolint:errcheck // none may run
		os.RemoveAll(dir)
	})
	empty := filepath.Join(dir, "passphrase")
	conf := "batch\npinentry-mode loopback\npassphrase-file " + empty + "\n"
	for name, text := range map[string]string{empty: "", filepath.Join(dir, "gpg.conf"): conf} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// doc is a page that is being run.
type doc struct {
	*world
	vars string // file of the shell variables that blocks before have set
}

var (
	// chosen is a line by which the reader picks a key from the list.
	chosen = regexp.MustCompile(`(?m)^([A-Z]+)=[0-9A-F]{16} +# of (.*)$`)
	// assigned is any other variable.
	assigned = regexp.MustCompile(`(?m)^([A-Z]+)=`)
	// fails3 is a command that ends with exit status 3.
	fails3 = regexp.MustCompile(`(?m)^(.*\S) +# exit status 3$`)
)

// run runs a block of commands and returns what they print.
func (d *doc) run(t *testing.T, b docBlock) (string, error) {
	script := chosen.ReplaceAllStringFunc(b.text, func(line string) string {
		m := chosen.FindStringSubmatch(line)
		word := map[string]string{"the root key": "farboot root", "the manifest key": "farboot manifest", "the standby key": "farboot standby", "Alice's key": "Alice"}
		key, _, _ := strings.Cut(m[2], ",")
		fpr, err := keyNamed(filepath.Join(d.project, "keys"), word[key])
		if err != nil {
			t.Fatalf("docs/keys.md:%d: %s: %v", b.line, line, err)
		}
		return m[1] + "=" + fpr
	})
	script = fails3.ReplaceAllString(script, "if $1; then exit 99; else [ $$? = 3 ]; fi")
	for _, m := range assigned.FindAllStringSubmatch(script, -1) {
		script += fmt.Sprintf("echo \"%s='$%s'\" >>%s\n", m[1], m[1], d.vars)
	}
	switch b.kind {
	case "sh alice": // a desk without key files
		script = "export XDG_CONFIG_HOME=$HOME/alice\n" + script
	case "sh bob": // a desk without gpg's keys
		script = "export GNUPGHOME=$HOME/bob\n" + script
	}
	cmd := d.command("sh", "-euc", "touch "+d.vars+"; . "+d.vars+"\n"+script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// loose are the parts of an output that differ from run to run.
var loose = regexp.MustCompile(`[0-9A-Fa-f]{16,}|20[0-9]{2}-[0-9]{2}-[0-9]{2}| +`)

// plain returns text without them.
func plain(text string) string {
	return loose.ReplaceAllStringFunc(text, func(s string) string {
		if strings.Trim(s, " ") == "" {
			return " "
		}
		return "*"
	})
}

// compare wants each line of a block in an output, in any order.
func (d *doc) compare(t *testing.T, b docBlock, out string) {
	for line := range strings.Lines(b.text) {
		if !strings.Contains(plain(out), plain(strings.TrimSpace(line))) {
			t.Errorf("docs/keys.md:%d: the output has no %q:\n%s", b.line, strings.TrimSpace(line), out)
		}
	}
}
