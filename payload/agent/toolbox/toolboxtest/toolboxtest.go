// Package toolboxtest has what tests of programs in a toolbox need: a machine of
// its own in namespaces, [Machine], and a small root file system with a shell, as
// a folder, [Tree], or as an image, [Image].
package toolboxtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Machine tells whether the test runs as PID 1 of a machine of its own: with
// namespaces for processes and mounts, and what Linux does to orphans there.
// Otherwise it runs the test in such, reports what came of it, and the test
// returns. It takes root, or sudo without a password.
func Machine(t *testing.T) bool {
	t.Helper()
	const marker = "FARBOOT_MACHINE"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc",
		self, "-test.run=^" + t.Name() + "$", "-test.timeout=60s", "-test.v",
	}
	if os.Getuid() != 0 { // loop devices and squashfs are root's
		args = append([]string{"sudo", "-n", "--preserve-env=" + marker + ",PATH"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as PID 1 (this test needs root, or sudo without a password): %v\n%s", err, out)
	}
	return false
}

// Tool finds a program of the desk, by its name and its Debian package.
func Tool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: it is in Debian's %s", name, pkg)
	}
	return path
}

// Tree makes a folder with a shell and the usual commands, all of them busybox.
func Tree(t testing.TB) string {
	t.Helper()
	tree := t.TempDir()
	for _, d := range []string{"bin", "dev", "etc", "proc", "run", "tmp", "var"} {
		must(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
	}
	busybox, err := os.ReadFile(Tool(t, "busybox", "busybox-static"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tree, "bin/busybox"), busybox, 0o755))
	for _, applet := range []string{"sh", "cat", "chroot", "dd", "env", "id", "ls", "mkdir", "mount", "ps", "pwd", "seq", "setsid", "sleep", "stat", "stty", "touch", "tty"} {
		must(t, os.Symlink("busybox", filepath.Join(tree, "bin", applet)))
	}
	// As in Debian, with links to places that only exist inside.
	must(t, os.Symlink("/run/resolvconf/resolv.conf", filepath.Join(tree, "etc/resolv.conf")))
	must(t, os.Symlink("/run", filepath.Join(tree, "var/run")))
	return tree
}

// Image makes a squashfs of a [Tree] and opens it. It runs a program: where
// somebody else takes all children, it must be called before.
func Image(t testing.TB) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "toolbox.squashfs")
	out, err := exec.Command(Tool(t, "mksquashfs", "squashfs-tools"), Tree(t), name, "-comp", "zstd", "-all-root", "-quiet").CombinedOutput()
	if err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, out)
	}
	f, err := os.Open(name)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
