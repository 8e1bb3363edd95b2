package toolbox

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machine tells whether the test runs as PID 1 of a machine of its own: with
// namespaces for processes and mounts, and what Linux does to orphans. Otherwise
// it runs the test there, and reports what came of it.
func machine(t *testing.T) bool {
	t.Helper()
	const marker = "FARBOOT_MACHINE"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	args := []string{
		"unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc",
		"/proc/self/exe", "-test.run=^" + t.Name() + "$", "-test.timeout=60s", "-test.v",
	}
	var err error
	if args[6], err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 { // loop devices and squashfs are root's
		args = append([]string{"sudo", "-n", "--preserve-env=" + marker}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as PID 1 (this test needs root, or sudo without a password): %v\n%s", err, out)
	}
	return false
}

// tool finds a program of the desk.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: it is in Debian's %s", name, pkg)
	}
	return path
}

// image makes a squashfs with a shell, and opens it.
func image(t *testing.T) *os.File {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for _, d := range []string{"bin", "etc", "var"} {
		must(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
	}
	busybox, err := os.ReadFile(tool(t, "busybox", "busybox-static"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tree, "bin/busybox"), busybox, 0o755))
	for _, applet := range []string{"sh", "cat", "ls", "sleep", "mount", "dd", "setsid", "stat", "ps", "mkdir", "tty", "stty", "id", "touch"} {
		must(t, os.Symlink("busybox", filepath.Join(tree, "bin", applet)))
	}
	// As in Debian, with links to places that only exist inside.
	must(t, os.Symlink("/run/resolvconf/resolv.conf", filepath.Join(tree, "etc/resolv.conf")))
	must(t, os.Symlink("/run", filepath.Join(tree, "var/run")))
	name := filepath.Join(dir, "toolbox.squashfs")
	out, err := exec.Command(tool(t, "mksquashfs", "squashfs-tools"), tree, name, "-comp", "zstd", "-all-root", "-quiet").CombinedOutput()
	if err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, out)
	}
	f, err := os.Open(name)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// open opens a toolbox.
func open(t *testing.T, free int64) *Toolbox {
	t.Helper()
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(resolv, []byte("nameserver 192.0.2.1\n"), 0o644))
	img := image(t) // before the reaper, which takes all children
	box, err := Open(t.Context(), Config{
		Image: img, Dir: filepath.Join(t.TempDir(), "with blank"), Free: free, Resolv: resolv, Log: t.Logf,
	})
	must(t, err)
	t.Cleanup(func() { box.Close() })
	return box
}

// sh runs a line in the shell and returns what it printed, and how it ended.
func (p *Processes) sh(t *testing.T, line string) (string, Status) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	proc, err := p.Start(Command{Args: []string{"/bin/sh", "-c", line}, Env: []string{"PATH=/bin"}, Dir: "/", Stdout: w, Stderr: w})
	w.Close()
	must(t, err)
	out, err := io.ReadAll(r)
	must(t, err)
	return string(out), proc.Status()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// others lists the processes of the machine but this one, zombies included.
func others(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	var all []string
	for _, name := range entries {
		if data, err := os.ReadFile(name); err == nil && !strings.HasPrefix(string(data), "1 ") {
			all = append(all, string(data))
		}
	}
	return all
}

// mounted lists what is mounted below a folder.
func mounted(t *testing.T, dir string) []string {
	t.Helper()
	points, err := mountsBelow(dir)
	must(t, err)
	return points
}

// inUse tells whether a loop device has a file.
func inUse(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	_, err = unix.IoctlLoopGetStatus64(int(f.Fd()))
	return err == nil
}
