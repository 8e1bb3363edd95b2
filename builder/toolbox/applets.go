package toolbox

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

// Debian counts on its essential packages (bash, coreutils, grep, ...) to be there
// and names them in no dependency. Where a recipe names none of them, scripts find
// the commands of Applets, one static program. They are run by Shell, and not by
// the shell that Applets has as well: that one takes its own commands before all
// others, so that "mke2fs" would not be that of e2fsprogs.
const (
	Applets = "busybox-static"
	Shell   = "dash"
)

// busybox is where its program lies.
const busybox = "usr/bin/busybox"

// withheld are applets that are for a machine that runs on busybox, whose
// process 1 it would be. In a toolbox the agent is that.
var withheld = []string{"init", "linuxrc", "halt", "poweroff", "reboot"}

// commandDirs are where commands lie.
var commandDirs = []string{"usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"}

// addApplets makes a link to busybox for each command that no package has.
func (t *root) addApplets() error {
	f := t.lookup(busybox)
	if f == nil {
		return fmt.Errorf("%w: no /%s (Debian package %s)", ErrFiles, busybox, Applets)
	}
	program, err := io.ReadAll(t.content(f))
	if err != nil {
		return err
	}
	names, err := applets(program)
	if err != nil {
		return err
	}
	for _, name := range names {
		taken := slices.ContainsFunc(commandDirs, func(dir string) bool { return t.files[path.Join(dir, name)] != nil })
		if !taken && !slices.Contains(withheld, name) {
			t.files["usr/bin/"+name] = &file{path: "usr/bin/" + name, mode: fs.ModeSymlink | 0o777, target: "busybox", from: made}
		}
	}
	return nil
}

// applets returns the commands that a busybox has, without running it: their
// names stand in the program one behind the other (include/applet_tables.h),
// each with a 0 at its end, the first two being "[" and "[[".
func applets(program []byte) ([]string, error) {
	const first = "\x00[\x00[[\x00"
	i := bytes.Index(program, []byte(first))
	if i < 0 {
		return nil, fmt.Errorf("%w: /%s has no table of commands", ErrFiles, busybox)
	}
	var names []string
	for rest := program[i+1:]; ; {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(name) == 0 {
			return names, nil
		}
		names = append(names, string(name))
		rest = after
	}
}
