//go:build boot && long

package boottest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/ipmisim"
	"github.com/farboot/farboot/builder/vm"
)

// How many machines TestClone has.
var cloneMachines = flag.Int("clone.machines", 3, "how many machines TestClone starts")

// cloneSite is a site whose machines each become a clone with a name and an address
// of its own.
const cloneSite = `kind: site
entries:
  image:
    title: Write Debian, erasing the disk
    flash:
      image: {file: image.zst}
      files:
        - {partition: 2, path: /etc/hostname, expand: true, text: "{HOSTNAME}\n"}
        - {partition: 2, path: /etc/farboot/address, expand: true, text: "{ADDRESS} by {GATEWAY} for {MAC}\n"}
      then: local
  disk: {title: What is installed, local: {}}
default: [disk]
groups:
  room-4:
    boot: [image, disk]
    power: {driver: ipmi, user: ` + ipmisim.User + `, password: {file: bmc}, cipher: 3, bios: true, seconds: 60}
machines:
`

// bay is a place for a machine, with a controller: ipmi_sim, whose script writes what
// is to be done into a file, and a goroutine that does it to QEMU.
type bay struct {
	dir     string
	config  vm.Config
	address string // of the controller

	mu      sync.Mutex
	machine *vm.VM
	serial  string // of machines before
}

// newBay makes a bay with a controller and no machine that is on.
func newBay(t *testing.T, config vm.Config) *bay {
	t.Helper()
	b := &bay{dir: t.TempDir(), config: config}
	b.put(t, "state", "0")
	script := filepath.Join(b.dir, "chassis")
	putFile(t, script, fmt.Sprintf(`#!/bin/sh
cd %s
case "$2 $3" in
"get power") echo power:$(cat state);;
"get boot") echo boot:default;;
"set "*) echo "$3 $4" >>log;;
esac
`, b.dir), 0o755)
	b.address = ipmisim.Start(t, script)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.follow(ctx, t) }()
	t.Cleanup(func() {
		cancel()
		<-done
		b.stop()
		if t.Failed() {
			t.Logf("%s:\n%s", b.address, b.said())
		}
	})
	return b
}

func (b *bay) put(t *testing.T, name, text string) {
	t.Helper()
	temp := filepath.Join(b.dir, name+".new")
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
	if err := os.Rename(temp, filepath.Join(b.dir, name)); err != nil {
		t.Error(err)
	}
}

// follow does what the controller says, line by line.
func (b *bay) follow(ctx context.Context, t *testing.T) {
	for done := 0; ctx.Err() == nil; sleep(ctx, 50*time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		lines := strings.SplitAfter(string(text), "\n")
		for ; done < len(lines) && strings.HasSuffix(lines[done], "\n"); done++ {
			switch strings.TrimSpace(lines[done]) {
			case "power 1", "reset 1":
				b.stop()
				m, err := vm.Start(ctx, b.config)
				if err != nil {
					t.Errorf("bay: %v", err)
					return
				}
				b.mu.Lock()
				b.machine = m
				b.mu.Unlock()
				b.put(t, "state", "1")
			case "power 0":
				b.stop()
				b.put(t, "state", "0")
			}
		}
	}
}

// stop pulls the plug.
func (b *bay) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.machine != nil {
		b.machine.Stop()
		b.serial += b.machine.Serial()
		b.machine = nil
	}
}

// said is all that the machine has shown.
func (b *bay) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.machine != nil {
		return b.serial + b.machine.Serial()
	}
	return b.serial
}

// TestClone brings a room from powered off to clones with names of their own, by one
// command: it switches the machines on by IPMI, serves the site, follows their
// reports and ends when all are done. A second time nothing is written.
func TestClone(t *testing.T) {
	w := newWorld(t)
	image := installed{name: "image", kind: "ext4", loader: grubCfg}
	p := fetchPackages(t, "linux-image-amd64", "busybox-static", "base-files", "libc6", "libgcc-s1", "gcc-12-base", "dash")
	k := p.kernel(t, "virtio_blk", "ahci", "sd_mod", "ext4")
	image.install(t, p, k, p.ramdisk(t, k, guestInit("-q crc32c_generic virtio_blk ahci sd_mod ext4")+switchRoot))
	command(t, "zstd", "zstd", "-q", image.file, "-o", filepath.Join(w.dir, "image.zst"))
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe+"compression: zstd\nreport: [site]\n", w.url), []byte("[net]"), []byte("[net, storage, filesystems]"), 1))
	medium, _ := w.build(t)
	recipe := cloneSite
	var bays []*bay
	for i := range *cloneMachines {
		disk := filepath.Join(t.TempDir(), "disk")
		sparse(t, disk, 512)
		mac := fmt.Sprintf("52:54:00:00:04:%02x", i+1)
		b := newBay(t, vm.Config{Image: medium, Memory: 768, Disks: []vm.Disk{{File: disk}}, NICs: []vm.NIC{{Model: "virtio-net-pci", MAC: mac}}})
		bays = append(bays, b)
		recipe += fmt.Sprintf(`  - name: room-4-%02d
    group: room-4
    match: {mac: "%s"}
    power: {address: "%s"}
    networks: [{addresses: [10.0.2.%d/24], gateways: [10.0.2.2], dns: [10.0.2.3]}]
`, i+1, mac, b.address, 100+i)
	}
	putFile(t, filepath.Join(w.dir, "bmc"), ipmisim.Password+"\n", 0o600)
	w.publishes(t, recipe)
	w.server.Close() // the command serves
	begin := time.Now()
	out := w.clone(t)
	t.Logf("%d machines in %.0f s\n%s", len(bays), time.Since(begin).Seconds(), out)
	for i, b := range bays {
		name := fmt.Sprintf("room-4-%02d", i+1)
		if !strings.Contains(out, name+"  done ") {
			t.Errorf("%s is not done", name)
		}
		b.shows(t, "Debian 12 runs on "+name+" from ext4")
		b.file(t, "/etc/farboot/address", fmt.Sprintf("10.0.2.%d/24 by 10.0.2.2 for 52:54:00:00:04:%02x\n", 100+i, i+1))
	}
	if out := w.clone(t); strings.Count(out, "left alone: its mark says") != len(bays) {
		t.Errorf("a second time:\n%s", out)
	}
}

// clone runs the command.
func (w *world) clone(t *testing.T) string {
	t.Helper()
	listen := strings.TrimSuffix(strings.Replace(w.url, "http://10.0.2.2", "127.0.0.1", 1), "/")
	cmd := exec.Command(filepath.Join(bin, "farboot"), "clone", "recipes/site.yaml", "--machines", "room-4", "--boot", "cd",
		"--listen", listen, "--yes-machines", fmt.Sprint(*cloneMachines), "--total", "40m")
	cmd.Dir = w.dir
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr // it takes minutes: whoever waits may look
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err := cmd.Run()
	if err != nil {
		t.Fatalf("clone: %v\n%s", err, stdout.Bytes())
	}
	return stdout.String()
}

// shows waits until the machine has shown a phrase.
func (b *bay) shows(t *testing.T, phrase string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if strings.Contains(b.said(), phrase) {
			return
		}
	}
	t.Errorf("%s does not show %q", b.address, phrase)
}

// file wants a file on the clone's disk, as e2fsprogs reads it.
func (b *bay) file(t *testing.T, path, want string) {
	t.Helper()
	part := filepath.Join(b.dir, "partition")
	command(t, "coreutils", "dd", "if="+b.config.Disks[0].File, "of="+part, "bs=1M", "skip=16", "count=340", "conv=sparse", "status=none")
	if out := command(t, "e2fsprogs", "debugfs", "-R", "cat "+path, part); !strings.Contains(out, want) {
		t.Errorf("%s: %q, want %q", path, out, want)
	}
}
