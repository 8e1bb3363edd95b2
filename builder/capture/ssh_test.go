package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// stage is what stands in for the other machine: a shell in which the file at IMAGE is a
// block device. All else is the real script, and real programs.
const stage = `
test() { case $1 in -b) return 0 ;; esac; command test "$@"; }
readlink() { echo "$IMAGE"; }
cat() { case $1 in */size) echo $(($(wc -c <"$IMAGE") / 512)) ;; */logical_block_size) echo 512 ;; *) command cat "$@" ;; esac; }
`

// fakeSSH puts a program called ssh on the PATH, which runs what it is told in a shell.
func fakeSSH(t *testing.T, shell, image string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n[ \"$*\" != \"${*#-T -- ssh://root@host:2222 }\" ] || exit 99\nfor script; do :; done\nIMAGE=%s exec %s -c '%s'\"$script\"\n",
		image, shell, strings.ReplaceAll(stage, "'", `'\''`))
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const remoteDisk = "ssh://root@host:2222/dev/sda"

// A disk of another machine, whose shell and dd are Debian's or busybox's, comes out as
// one of this computer does; what is free is not sent.
func TestSSH(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	system(t, path, 48, "-t", "ext4")
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	busybox := oracle.Tool(t, "busybox", "busybox-static")
	applets := t.TempDir()
	for _, name := range []string{"sh", "dd", "cat", "grep", "wc"} {
		if err := os.Symlink(busybox, filepath.Join(applets, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, shell := range []string{"sh", "env PATH=" + applets + " sh"} {
		fakeSSH(t, shell, path)
		d, err := Open(t.Context(), remoteDisk)
		if err != nil {
			t.Fatal(err)
		}
		plan, image, r := capturedFrom(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		compare(t, plan, disk, image)
		if plan.Free() < 30<<20 || r.Read > 18<<20 {
			t.Errorf("%d bytes are free, %d were read", plan.Free(), r.Read)
		}
	}
}

// What the other machine has against it is in the error.
func TestSSHFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	noise(t, path, 2<<20)
	for shell, want := range map[string]string{
		"true":                               "does not say how large",
		`sh -c "echo gone away >&2; exit 1"`: "gone away",
	} {
		fakeSSH(t, shell, path)
		if _, err := Open(t.Context(), remoteDisk); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", shell, err)
		}
	}
	fakeSSH(t, "sh", path)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), remoteDisk)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // as a disk that fails
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image")
	if _, err := Write(t.Context(), d, plan, name, nil); err == nil {
		t.Error("a disk that went away was captured")
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("error %v, want dd's", err)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
