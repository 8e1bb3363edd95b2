//go:build bench

package benchmark

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
)

// uroot is the version of u-root that is measured.
const uroot = "github.com/u-root/u-root@v0.16.0"

// TestXenLoad loads Xen with the Debian installer's kernel and initrd, 49 MB, in
// one machine by three programs that take turns: ours, u-root's package and
// kexec-tools. Each begins with files in memory. A last row is what the agent does,
// where the files have been verified and sealed by then.
func TestXenLoad(t *testing.T) {
	need(t, "kexec", "kexec-tools")
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, vm.Config{
		Kernel: w.path("out/netboot/boot/vmlinuz"), Initrd: w.xenInitrd(), Cmdline: "console=ttyS0,115200 quiet panic=1", Memory: 4096,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	if end, err := v.Expect(ctx, "xenload: done", "xenload: failed"); err != nil || end != "xenload: done" {
		t.Fatalf("%v\n%s", err, v.Serial())
	}
	took := map[string][]time.Duration{}
	for _, got := range regexp.MustCompile(`xenload: (.*): ([0-9.]+) s`).FindAllStringSubmatch(v.Serial(), -1) {
		took[got[1]] = append(took[got[1]], parseSeconds(t, got[2]))
	}
	out := table{title: fmt.Sprintf("Loading Xen: hypervisor, kernel and initrd, QEMU without KVM, median of %d", len(took["farboot"]))}
	out.row("", "takes", "farboot is faster by")
	own := took["farboot"]
	for _, name := range []string{"farboot", "u-root", "kexec-tools", "farboot, verified before"} {
		m := middle(took[name], func(d time.Duration) time.Duration { return d })
		out.row(name, seconds(m), ratio(m, middle(own, func(d time.Duration) time.Duration { return d })))
	}
	out.print()
}

// xenInitrd makes the machine's initrd: the loaders, and what they load.
func (w *world) xenInitrd() string {
	t := w.t
	t.Helper()
	dir := t.TempDir()
	shell(t, `cd %s; apt-get -q download xen-hypervisor-4.17-amd64; dpkg-deb --extract xen-*.deb x; cp x/boot/xen-4.17-amd64.gz xen.gz; gzip -dc xen.gz >xen`, dir)()
	w.buildLoaders(dir)
	files := []tree.File{
		onDisk(t, "init", filepath.Join(dir, "xenload")), onDisk(t, "uroot", filepath.Join(dir, "uroot")),
		onDisk(t, "xen", filepath.Join(dir, "xen")), onDisk(t, "xen.gz", filepath.Join(dir, "xen.gz")),
		onDisk(t, "vmlinuz", w.path("out/site/"+w.objects[0].Path())), onDisk(t, "initrd", w.path("out/site/"+w.objects[1].Path())),
	}
	program, err := exec.LookPath("kexec")
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", program, err)
	}
	files = append(files, onDisk(t, "sbin/kexec", program))
	for _, name := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		files = append(files, onDisk(t, strings.TrimPrefix(name, "/"), name))
	}
	var packed bytes.Buffer
	if err := initramfs.Pack(&packed, initramfs.Layer{Files: initramfs.FromTree(files...)}, initramfs.None); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "initrd.img")
	if err := os.WriteFile(path, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildLoaders builds our loader, and u-root's in a module of its own.
func (w *world) buildLoaders(dir string) {
	w.t.Helper()
	here, err := os.Getwd()
	if err != nil {
		w.t.Fatal(err)
	}
	shell(w.t, `export CGO_ENABLED=0; go build -trimpath -o %[1]s/xenload ./xenload
		mkdir %[1]s/module; cp %[2]s/testdata/uroot.go %[1]s/module; cd %[1]s/module
		go mod init uroot; go get %[3]s; go build -trimpath -o %[1]s/uroot .`, dir, here, uroot)()
}
