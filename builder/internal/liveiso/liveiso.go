// Package liveiso makes live ISOs of Debian's own packages, for tests.
//
// [Build] is a live system as Debian has them: live-boot and live-config, the usual
// kernel, an initrd that update-initramfs made with nothing of ours in it, and the
// configuration files that live-build writes. [Large] is the same with 4.5 GiB before
// the parts that count, and [LiveBuild] what live-build itself makes. The first two take
// a minute once, and nothing after that: what was made lies in the temporary folder,
// under a name that tells how.
//
// It takes root and a mirror of Debian 12, by the host's apt sources. What it makes
// is not the same from day to day.
package liveiso

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// Hostname is what the live system is called unless its command line says otherwise.
const Hostname = "liveiso"

//go:embed build.sh
var script []byte

//go:embed livebuild.sh
var liveBuild []byte

// Build returns the path of a live ISO of some 180 MB: live-boot, systemd, a login on
// tty1 and, with console=ttyS0, on the serial line. Root's password is "live". Kernel
// and initrd are /live/vmlinuz and /live/initrd.img. Callers do not change the file.
func Build(t testing.TB) string {
	t.Helper()
	for tool, pkg := range map[string]string{"mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "xorriso": "xorriso", "zstd": "zstd"} {
		oracle.Tool(t, tool, pkg)
	}
	return once(t, script, "live", "")
}

// LiveBuild is a live ISO of the same packages made by live-build, with all that it
// writes beside them: the real thing, which takes 4 minutes of a processor. It has no
// password for anybody.
func LiveBuild(t testing.TB) string {
	t.Helper()
	oracle.Tool(t, "lb", "live-build")
	oracle.Tool(t, "debootstrap", "debootstrap")
	return once(t, liveBuild, "livebuild", "")
}

// Large is Build's with a file of 4.5 GiB, which lies before all that is needed to
// boot. The ISO is sparse.
func Large(t testing.TB) string {
	t.Helper()
	return once(t, script, "large", Build(t))
}

// once runs a script with what to make of from, unless that is there.
func once(t testing.TB, script []byte, what, from string) string {
	t.Helper()
	sum := sha256.Sum256(script)
	path := filepath.Join(os.TempDir(), fmt.Sprintf("farboot-test-%s-%x.iso", what, sum[:6]))
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	// Packages are tested side by side, each in a process of its own.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	work := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-s", what, filepath.Join(work, "new.iso"), from)
	cmd.Stdin, cmd.Dir = bytes.NewReader(script), work
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("a live ISO of packages: %v\n%s", err, out)
	}
	// Into its folder first: the temporary folder of a test may be another file system.
	for _, args := range [][]string{{"cp", "--sparse=always", filepath.Join(work, "new.iso"), path + ".new"}, {"mv", path + ".new", path}} {
		oracle.Output(t, args[0], args[1:]...)
	}
	return path
}
