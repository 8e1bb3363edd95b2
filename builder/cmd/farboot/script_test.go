package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/farboot/farboot/builder/keys"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"farboot": main})
}

// TestScripts runs the command as users type it. Each script in
// testdata/script has a project of its own as its working folder, an operator's
// home folder outside of it, and a mirror (see newWorld). Beside testscript's
// own commands there are those of scriptCommands.
func TestScripts(t *testing.T) {
	agent(t)
	archive := newArchive(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               func(e *testscript.Env) error { return setUp(e, archive) },
		Cmds:                scriptCommands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// worldKey is where a script's world is kept.
type worldKey struct{}

// setUp gives a script its world. "$MIRROR" in a recipe becomes the mirror.
func setUp(e *testscript.Env, archive archive) error {
	w := newWorld(e.T().(testing.TB), e.WorkDir, archive)
	e.Values[worldKey{}] = w
	e.Defer(w.close)
	for _, name := range []string{"HOME", "MIRROR"} {
		e.Setenv(name, w.env[name])
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return err
	}
	e.Setenv("FARBOOT", root) // this project's own files
	return filepath.WalkDir(e.WorkDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(text, []byte("$MIRROR"), []byte(w.env["MIRROR"])), 0o644)
	})
}

// scriptCommands are the commands that scripts have beside testscript's.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"fails":     cmdFails,
		"interrupt": cmdInterrupt,
		"mirror":    cmdMirror,
		"status":    cmdStatus,
		"key":       cmdKey,
		"tidy":      cmdTidy,
		"serve":     cmdServe,
		"shipped":   cmdShipped,
		"edit":      cmdEdit,
		"mode":      cmdMode,
		"json":      cmdJSON,
	}
}

// worldOf returns the script's world.
func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// usage ends a script that uses a command wrongly.
func usage(ts *testscript.TestScript, wrong bool, text string) {
	if wrong {
		ts.Fatalf("usage: %s", text)
	}
}

// voice is what the first line of a failure may look like; see voice.go.
var voice = regexp.MustCompile(`(?m)^(farboot: error: |[^ :]+:[0-9]+: )[^\n]+\n(farboot: hint: [^\n]+\n)?\z`)

// cmdFails runs "fails STATUS COMMAND...": the command must end with the exit
// status, say so in farboot's voice at the end of stderr and nowhere else, and
// leave every file of the project as it was.
func cmdFails(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 2, "fails STATUS COMMAND...")
	w := worldOf(ts)
	before := w.snapshot(ts)
	wantStatus(ts, ts.Exec(args[1], args[2:]...), args[0])
	if stdout := ts.ReadFile("stdout"); stdout != "" {
		ts.Fatalf("a failure prints on stdout: %q", stdout)
	}
	if stderr := ts.ReadFile("stderr"); !voice.MatchString(stderr) {
		ts.Fatalf("a failure that does not end in one error and at most one hint: %q", stderr)
	}
	w.wantSame(ts, before)
	w.wantTidyCache(ts)
}

// cmdStatus runs "status STATUS COMMAND...": the command must end with the exit
// status.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 2, "status STATUS COMMAND...")
	wantStatus(ts, ts.Exec(args[1], args[2:]...), args[0])
}

// cmdKey runs "key VARIABLE DIR WORD": the variable becomes the fingerprint of
// the one key in the keys folder whose role or name has the word in it.
func cmdKey(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 3, "key VARIABLE DIR WORD")
	fpr, err := keyNamed(ts.MkAbs(args[1]), args[2])
	ts.Check(err)
	ts.Setenv(args[0], fpr)
}

// keyNamed returns the fingerprint of the one key in the keys folder that
// "farboot keys list" shows with the word.
func keyNamed(dir, word string) (string, error) {
	set, err := keys.Load(dir)
	if err != nil {
		return "", err
	}
	r, err := set.Report(nil, time.Now())
	if err != nil {
		return "", err
	}
	var found []string
	for _, role := range r.Roles {
		for _, k := range role.Keys {
			if strings.Contains(k.Name, word) {
				found = append(found, string(k.Fingerprint))
			}
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s: %d keys have %q in their name", dir, len(found), word)
	}
	return found[0], nil
}

// wantStatus compares how a command ended: its exit status, or the signal.
func wantStatus(ts *testscript.TestScript, err error, want string) {
	have := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if have = strconv.Itoa(exit.ExitCode()); exit.ExitCode() < 0 {
			have = exit.String() // "signal: killed"
		}
	} else {
		ts.Check(err)
	}
	if have != want {
		ts.Fatalf("it ended with %q, want %q", have, want)
	}
}

// cmdInterrupt runs "interrupt SIGNAL STATUS COMMAND...": the command gets the
// signal as soon as it asks for what "mirror hold" names, and must leave every
// file of the project as it was. Who is killed cannot tidy up: what that leaves
// in the folder for temporary files and in the cache is the script's to judge.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 3, "interrupt INT|TERM|KILL STATUS COMMAND...")
	w := worldOf(ts)
	before := w.snapshot(ts)
	cmd := w.command(args[2], args[3:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-w.mirror.reached():
		ts.Check(cmd.Process.Signal(signals[args[0]]))
		wantStatus(ts, <-ended, args[1])
	case err := <-ended:
		ts.Fatalf("it ended before it asked the mirror: %v\n%s", err, &stderr)
	}
	w.mirror.release()
	if args[0] == "KILL" {
		ts.Check(w.emptyTemp())
	} else {
		w.wantTidyCache(ts)
	}
	w.wantSame(ts, before)
	_, err := io.Copy(ts.Stderr(), &stderr)
	ts.Check(err)
}

// cmdTidy runs "tidy": the cache holds nothing that nobody would find again.
func cmdTidy(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 0, "tidy")
	worldOf(ts).wantTidyCache(ts)
}

// cmdMirror changes the mirror: "mirror off" ends it, "mirror newer" publishes
// the next version of every package and drops the old ones, "mirror older"
// goes back in time, "mirror hold PATH" has requests for paths that contain PATH
// wait.
func cmdMirror(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case !neg && len(args) == 1 && args[0] == "off":
		w.mirror.close()
	case !neg && len(args) == 1 && args[0] == "newer":
		w.mirror.newer()
	case !neg && len(args) == 1 && args[0] == "older":
		w.mirror.older()
	case !neg && len(args) == 2 && args[0] == "hold":
		w.mirror.holdBack(args[1])
	default:
		ts.Fatalf("usage: mirror off|newer|older|hold PATH")
	}
}

// serving finds the address in what "farboot serve" says first.
var serving = regexp.MustCompile(`http://[0-9.:]+`)

// cmdServe runs "serve FOLDER [FLAG...]": "farboot serve" on a free port, whose
// address becomes $SITE. At the end of the script it is interrupted and must end
// well.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) == 0, "serve FOLDER [FLAG...]")
	cmd := worldOf(ts).command("farboot", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line := make([]byte, 512)
	n, _ := stderr.Read(line)
	ts.Setenv("SITE", serving.FindString(string(line[:n])))
	log := make(chan string)
	go func() {
		rest, _ := io.ReadAll(stderr)
		log <- string(line[:n]) + string(rest)
	}()
	ts.Defer(func() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
		ts.Logf("[serve]\n%s", <-log)
		if err := cmd.Wait(); err != nil {
			ts.Fatalf("serve, interrupted: %v", err)
		}
	})
}

// cmdShipped runs "shipped NAME...": it puts the project's own recipes into
// recipes/, with the script's mirror added at the end.
func cmdShipped(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) == 0, "shipped NAME...")
	ts.Check(worldOf(ts).ship(args...))
}

// cmdEdit runs "edit FILE OLD NEW": it replaces the text OLD, which must be
// there once, as a person with an editor would.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 3, "edit FILE OLD NEW")
	text := ts.ReadFile(args[0])
	if n := strings.Count(text, args[1]); n != 1 {
		ts.Fatalf("%q is %d times in %s", args[1], n, args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}

// cmdMode runs "mode OCTAL FILE...": all of the files have that mode.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 2, "mode OCTAL FILE...")
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, pattern := range args[1:] {
		names, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(names) == 0 {
			ts.Fatalf("no file %s", pattern)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			ts.Check(err)
			if info.Mode().Perm() != os.FileMode(want) {
				ts.Fatalf("%s has mode %04o, want %04o", name, info.Mode().Perm(), want)
			}
		}
	}
}

// cmdJSON runs "json FILE KEY...": the file, or stdout, is one JSON value, an
// object with the keys.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) == 0, "json FILE KEY...")
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var value map[string]json.RawMessage
	if err := dec.Decode(&value); err != nil {
		ts.Fatalf("%s is no JSON object: %v", args[0], err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		ts.Fatalf("%s: more than one JSON value", args[0])
	}
	for _, key := range args[1:] {
		if len(value[key]) == 0 {
			ts.Fatalf("%s: no key %q", args[0], key)
		}
	}
}
