//go:build boot && long

package boottest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestVMImages: two images at a time, with file systems of other kinds and one of them
// qcow2; each command sees its own disk, what is piped in and what it is to see of the
// network.
func TestVMImages(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	var wg sync.WaitGroup
	for _, kind := range []string{"xfs", "btrfs"} {
		disk := d.disk(t, kind)
		file, reach, flag, patience := disk.file, "offline", "--offline", "5"
		if kind == "btrfs" {
			file, reach, flag, patience = filepath.Join(t.TempDir(), "disk.qcow2"), "online", "--no-kvm", "120"
			command(t, "qemu-utils", "qemu-img", "convert", "-O", "qcow2", disk.file, file)
		}
		wg.Go(func() {
			args := []string{"vm", "run", file, "--memory", "512", flag, "--", "sh", "-c", `
				cat >/from-stdin
				grep " / " /proc/mounts
				apt-get -q -o Acquire::Retries=0 -o Acquire::http::Timeout=` + patience + ` -o APT::Update::Error-Mode=any update >&2 && echo online || echo offline
				echo to stderr >&2`}
			cmd := exec.Command(filepath.Join(bin, "farboot"), args...)
			cmd.Stdin = strings.NewReader(strings.Repeat(kind+"\n", 100_000))
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("%s: %v\n%s", kind, err, stderr.Bytes())
				return
			}
			result := strings.TrimSuffix(file, filepath.Ext(file)) + "-1" + filepath.Ext(file)
			if out := stdout.String(); !strings.Contains(out, " / "+kind+" ") || !strings.HasSuffix(out, reach+"\n") {
				t.Errorf("%s: %q\n%s", kind, out, stderr.Bytes())
			}
			if text := stderr.String(); !strings.Contains(text, "to stderr\n") || !strings.HasSuffix(text, "farboot: wrote "+result+"\n") {
				t.Errorf("%s: %q", kind, text)
			}
			if kind == "btrfs" {
				command(t, "qemu-utils", "qemu-img", "check", result)
				command(t, "qemu-utils", "qemu-img", "convert", "-O", "raw", result, result+".raw")
				result += ".raw"
			}
			disk.file = result
			disk.check(t)
		})
	}
	wg.Wait()
}

// TestVMFails: whatever goes wrong the image is as it was and nothing else is left; the
// exit status and the message say what it was.
func TestVMFails(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	disk := d.disk(t, "ext4")
	before := disk.sum(t)
	for _, tt := range []struct {
		want   string
		status int
		args   []string
	}{
		{"no-such-program: command not found", 127, []string{"--", "no-such-program"}},
		{"killed", 137, []string{"--", "sh", "-c", "echo killed; kill -9 $$"}},
		{"no partition 7; there are partition 1 (nothing that is known), partition 2 (ext4)", 125, []string{"--root", "7", "--", "true"}},
		{"partition 1 (nothing that is known): no root file system", 125, []string{"--root", "1", "--", "true"}},
		{"not all that /etc/fstab says can be mounted", 125, []string{"--", "sh", "-c", "not to be run"}},
	} {
		file := disk.file
		if strings.Contains(tt.want, "fstab") { // a file system that is not there
			file = filepath.Join(t.TempDir(), "disk.img")
			out, status := d.farboot(t, "vm", "run", disk.file, "--snapshot", file, "--", "sh", "-c", "echo LABEL=none /mnt ext4 defaults 0 2 >>/etc/fstab")
			if status != 0 {
				t.Fatalf("exit status %d\n%s", status, out)
			}
		}
		args := append([]string{"vm", "run", "--commit", file}, tt.args...)
		if out, status := d.farboot(t, args...); status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%q: exit status %d, want %d and %q\n%s", tt.args, status, tt.status, tt.want, out)
		}
	}
	if disk.sum(t) != before {
		t.Error("the image has changed")
	}
	if left, err := filepath.Glob(disk.file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// TestVMInterrupted: neither an interrupt nor a sudden death of farboot, in the middle of
// writing, changes the image; QEMU goes with it, and the next run works.
func TestVMInterrupted(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	disk := d.disk(t, "ext4")
	before := disk.sum(t)
	for _, tt := range []struct {
		sig    syscall.Signal
		status int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		cmd := exec.Command(filepath.Join(bin, "farboot"), "vm", "run", "--commit", disk.file, "--", "sh", "-c",
			"rm -rf /usr/share /var/lib; sync; echo destroyed; while :; do :; done")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("destroyed\n"))); err != nil {
			cmd.Wait() //nolint:errcheck // it says why
			t.Fatalf("%v: %v\n%s", tt.sig, err, stderr.Bytes())
		}
		if err := cmd.Process.Signal(tt.sig); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() //nolint:errcheck // the status tells
		if got := cmd.ProcessState.ExitCode(); got != tt.status {
			t.Errorf("%v: exit status %d, want %d", tt.sig, got, tt.status)
		}
		if disk.sum(t) != before {
			t.Errorf("%v: the image has changed", tt.sig)
		}
		_, err = os.Stat(disk.file + ".part")
		for end := time.Now().Add(time.Minute); inUse(t, disk.file+".part"); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%v: QEMU is still there", tt.sig)
			}
		}
		if left := err == nil; left != (tt.sig == syscall.SIGKILL) {
			t.Errorf("%v: a copy is left: %v", tt.sig, left)
		}
	}
	if out, status := d.farboot(t, "vm", "run", "--commit", disk.file, "--", "sh", "-c", "ls -d /usr/share && touch /done"); status != 0 {
		t.Errorf("exit status %d\n%s", status, out)
	}
	disk.check(t)
}

// TestVMShell: somebody at a terminal works in an image, and what he did is kept whatever
// the last command's status.
func TestVMShell(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	disk := d.disk(t, "ext4")
	cmd := exec.Command("script", "-qec", filepath.Join(bin, "farboot")+" vm shell --commit "+disk.file, "/dev/null")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install the Debian package bsdutils", err)
	}
	var seen bytes.Buffer
	until := func(phrase string) {
		for b := make([]byte, 1); !strings.HasSuffix(seen.String(), phrase); seen.Write(b) {
			if _, err := out.Read(b); err != nil {
				t.Fatalf("%v, %q is not seen in\n%s", err, phrase, seen.String())
			}
		}
	}
	until("# ")
	io.WriteString(keys, "tty; stty size; sleep 600\r") //nolint:errcheck // the next phrase tells
	until("/dev/pts/0\r\n24 80\r\n")
	io.WriteString(keys, "\x03") //nolint:errcheck // as above
	until("# ")
	io.WriteString(keys, "echo kept >/kept; exit 3\r") //nolint:errcheck // as above
	until("farboot: wrote " + disk.file)
	cmd.Wait() //nolint:errcheck // the status tells
	if got := cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("exit status %d, want the shell's", got)
	}
	disk.check(t)
	if got := command(t, "e2fsprogs", "debugfs", "-R", "cat /kept", disk.file+".checked"); !strings.Contains(got, "kept\n") {
		t.Errorf("the image has %q", got)
	}
}

// inUse tells whether a process has a file open.
func inUse(t *testing.T, path string) bool {
	t.Helper()
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path {
			return true
		}
	}
	return false
}
