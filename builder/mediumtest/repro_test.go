//go:build boot

package mediumtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// siteRecipe boots the medium's own kernel.
const siteRecipe = `kind: site
entries: {kernel: {title: "The medium's kernel", linux: {kernel: {file: kernel}, cmdline: quiet}}}
default: [kernel]
`

// TestMedium builds the medium as "make" does, and again as differently as can
// be: threat 13, tampering hides where builds differ. The first build goes
// through the oracles.
func TestMedium(t *testing.T) {
	p := newProject(t, "first")
	secrets := filepath.Join(base, "secret")
	p.farboot(t, "keys", "init", "--secrets", secrets)
	// What was published last is the floor of media, so it comes first.
	p.write(t, "recipes/site.yaml", []byte(siteRecipe))
	p.write(t, "kernel", []byte("what a site serves does not matter here"))
	p.farboot(t, "publish", "recipes/site.yaml", "--secrets", secrets, "--out", filepath.Join(p.dir, "published"))
	p.farboot(t, "lock", "recipes/netboot.yaml")
	out, took := p.run(t, p.command(t, "build", "recipes/netboot.yaml", "--json"))
	first := decode(t, out)
	t.Logf("ISO of %d bytes, %.1f s with whatever the cache had", first.Size, took.Seconds())
	want := p.results(t)

	t.Run("oracles", func(t *testing.T) { testOracles(t, p, first) })
	t.Run("secrets", func(t *testing.T) { testSecrets(t, p, secrets) })
	t.Run("no network", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(p.dir, "out")); err != nil {
			t.Fatal(err)
		}
		cmd := p.command(t, "build", "recipes/netboot.yaml", "--json")
		withoutNetwork(t, cmd)
		_, took := p.run(t, cmd)
		t.Logf("warm: %.2f s", took.Seconds())
		if diff := cmp.Diff(want, p.results(t)); diff != "" {
			t.Errorf("-first +warm:\n%s", diff)
		}
	})
	t.Run("other desk", func(t *testing.T) {
		other := copyOf(t, p)
		home := filepath.Join(base, "home of another")
		if err := os.MkdirAll(home, 0o700); err != nil {
			t.Fatal(err)
		}
		interruptedBuild(t, other, home)
		cmd := otherDesk(t, other, home)
		out, took := other.run(t, cmd)
		t.Logf("cold cache but for the downloads, one processor: %.1f s", took.Seconds())
		if second := decode(t, out); second != first {
			t.Errorf("the second build says %+v, the first %+v", second, first)
		}
		if diff := cmp.Diff(want, other.results(t)); diff != "" {
			t.Errorf("-first +second:\n%s", diff)
		}
	})
}

// withoutNetwork has the command run with proxies that are not there and, for
// root, in a network namespace without as much as a loopback.
func withoutNetwork(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		cmd.Env = append(cmd.Env, name+"=http://127.0.0.1:1")
	}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
}

// copyOf returns another project with the same recipe, lock and public keys, in
// a folder of another length.
func copyOf(t *testing.T, p *project) *project {
	t.Helper()
	other := newProject(t, "second/in a deeper folder")
	if err := os.CopyFS(filepath.Join(other.dir, "keys"), os.DirFS(filepath.Join(p.dir, "keys"))); err != nil {
		t.Fatal(err)
	}
	other.write(t, "recipes/netboot.lock", p.read(t, "recipes/netboot.lock"))
	return other
}

// otherDesk returns a build whose surroundings differ in everything that must
// not matter.
func otherDesk(t *testing.T, p *project, home string) *exec.Cmd {
	t.Helper()
	inner := p.command(t, "build", "recipes/netboot.yaml", "--json")
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask 077 && exec "$@"`, "sh"}, inner.Args...)...)
	cmd.Dir = inner.Dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		"TZ=Asia/Tokyo", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=ja", "USER=somebody", "GOMAXPROCS=1",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", rand.Int64N(1<<31)),
	}
	asNobody(t, cmd, p.dir, home)
	return cmd
}

// promptly bounds the wait for an interrupted build to end. It ends when the
// parts that are being compressed are done, some seconds on a quiet machine; a
// busy one has taken 18. That it leaves nothing behind is what is tested.
const promptly = 2 * time.Minute

// interruptedBuild interrupts a build as soon as all is fetched and the kernel's
// modules are being read. There must be no result, and the next build must do.
func interruptedBuild(t *testing.T, p *project, home string) {
	t.Helper()
	cmd := otherDesk(t, p, home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for !readsModules(cmd.Process.Pid) {
		select {
		case err := <-ended:
			t.Fatalf("the build ended before it read modules: %v\n%s", err, &stderr)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Logf("fetched everything in %.1f s", time.Since(begin).Seconds())
	begin = time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	took := time.Since(begin)
	fmt.Fprintf(&p.log, "%v\n%s", cmd.Args, &stderr)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 130 {
		t.Errorf("interrupted build: %v, want exit status 130\n%s", err, &stderr)
	}
	if took > promptly {
		t.Errorf("the build went on for %v", took)
	}
	for _, name := range []string{"netboot", "netboot.iso"} {
		if exists(filepath.Join(p.dir, "out", name)) {
			t.Errorf("the interrupted build left %s", name)
		}
	}
}

// readsModules tells whether a process has the file open in which builder/kernel
// keeps modules while it reads a package.
func readsModules(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(open, func(fd os.DirEntry) bool {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		return err == nil && strings.Contains(to, "farboot-modules-")
	})
}
