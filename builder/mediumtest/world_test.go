//go:build boot

package mediumtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// root is the project folder, seen from this package.
const root = "../.."

// base holds the commands under test, freshly built, and the projects. Every
// user may read it, since not only this one builds.
var base string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "farboot-mediumtest")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		for name, pkg := range map[string]string{"farboot": "../cmd/farboot", "farboot-agent": "../../payload/agent"} {
			// As the Makefile has it.
			cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", inlining(name), "-o", filepath.Join(dir, name), pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n%s", pkg, err, out)
				return 1
			}
		}
		base = dir
		return m.Run()
	}())
}

// inlining is the Makefile's flag for the agent, which makes it smaller.
func inlining(name string) string {
	if name == "farboot-agent" {
		return "-gcflags=all=-l"
	}
	return "-gcflags="
}

// project is an operator's project with the shipped recipe for a medium.
type project struct {
	dir string
	// log is all that commands printed in it.
	log bytes.Buffer
}

// newProject makes a project in base.
func newProject(t *testing.T, name string) *project {
	t.Helper()
	p := &project{dir: filepath.Join(base, name)}
	text, err := os.ReadFile(filepath.Join(root, "recipes", "netboot.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "recipes/netboot.yaml", text)
	return p
}

// write writes a file of the project.
func (p *project) write(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// read returns a file of the project.
func (p *project) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// iso is where the medium is.
func (p *project) iso() string { return filepath.Join(p.dir, "out", "netboot.iso") }

// command returns a farboot command that will run in the project, and is
// ended when it takes longer than anything should on a busy machine.
func (p *project) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(base, "farboot"), args...)
	cmd.Dir = p.dir
	cmd.Env = os.Environ()
	return cmd
}

// run runs a command, which must succeed, and returns what it printed on stdout
// and how long it took.
func (p *project) run(t *testing.T, cmd *exec.Cmd) (string, time.Duration) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	fmt.Fprintf(&p.log, "%v\n%s%s", cmd.Args, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	return stdout.String(), took
}

// farboot runs a farboot command.
func (p *project) farboot(t *testing.T, args ...string) string {
	t.Helper()
	out, _ := p.run(t, p.command(t, args...))
	return out
}

// built is what "farboot build --json" says.
type built struct {
	Build, Kernel string
	Size          int64
	SHA256        string
}

// decode reads what a build said.
func decode(t *testing.T, text string) built {
	t.Helper()
	var b built
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return b
}

// results returns the hash of every result, by path, and in the netboot folder
// mode and date too. The image's mode is left to the umask.
func (p *project) results(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	out := filepath.Join(p.dir, "out")
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, out)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "/netboot/") || name == "/netboot" {
			all[name] = info.Mode().String()
		}
		if d.IsDir() {
			return nil
		}
		if all[name] != "" {
			all[name] += info.ModTime().UTC().Format(" 2006-01-02T15:04:05.999999999")
		}
		data, err := os.ReadFile(path)
		all[name] += fmt.Sprintf(" %x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// nobody is Debian's user without rights.
const nobody = 65534

// asNobody has the command run as another user where this one may do that, and
// gives that user the folders.
func asNobody(t *testing.T, cmd *exec.Cmd, folders ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("not root: both builds are this user's")
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// locked returns where the cache keeps what the shipped recipe's lock calls name.
func (p *project) locked(t *testing.T, name string) string {
	t.Helper()
	return p.lockedBy(t, "netboot", name)
}

// lockedBy returns where the cache keeps what a recipe's lock calls name.
func (p *project) lockedBy(t *testing.T, recipe, name string) string {
	t.Helper()
	var lock struct {
		Inputs []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal(p.read(t, "recipes/"+recipe+".lock"), &lock); err != nil {
		t.Fatal(err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range lock.Inputs {
		if in.Name == name {
			return filepath.Join(dir, "farboot", "blobs", in.SHA256)
		}
	}
	t.Fatalf("the lock has no %s", name)
	return ""
}
