//go:build boot

package boottest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// TestMatrix takes one medium through every firmware and bus: from the medium
// over the agent and a verified manifest to a kernel that prints the command
// line of the manifest. Two, which are a group, go on to the first screen of the
// Debian installer. The site is served by "farboot serve", which keeps what the
// machines report; their lines arrive by syslog as well.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	group := strings.Replace(siteRecipe, "machines:\n", "groups:\n  installers: {match: [{mac: \"52:54:00:00:01:00\"}, {mac: \"52:54:00:00:01:05\"}], boot: [installer]}\nmachines:\n", 1)
	w.write(t, "recipes/site.yaml", []byte(group))
	w.publish(t)
	log := listenSyslog(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"report: [site]\nsyslog: %q\n", w.serve(t), log.url))
	image, _ := w.build(t)
	tests := []struct {
		name      string
		firmware  vm.Firmware
		bus       vm.Bus
		nic       string
		installer bool
	}{
		{"BIOS-CD", vm.BIOS, vm.CD, "virtio-net-pci", true},
		{"BIOS-USB", vm.BIOS, vm.USB, "e1000e", false},
		{"UEFI-CD", vm.UEFI, vm.CD, "rtl8139", false},
		{"UEFI-USB", vm.UEFI, vm.USB, "virtio-net-pci", false},
		{"SecureBoot-CD", vm.SecureBoot, vm.CD, "virtio-net-pci", false},
		{"SecureBoot-USB", vm.SecureBoot, vm.USB, "virtio-net-pci", true},
	}
	t.Run("boots", func(t *testing.T) {
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				nic := vm.NIC{Model: test.nic, MAC: fmt.Sprintf("52:54:00:00:01:%02x", i)}
				m, ctx := start(t, vm.Config{Image: image, Firmware: test.firmware, Bus: test.bus, NICs: []vm.NIC{nic}})
				expect(t, ctx, m, "farboot: medium", "time not verified", "network: eth0: 10.0.2.15/24", "manifest: version 2", "handing over", "report: sent")
				if test.installer {
					expect(t, ctx, m, "Command line: "+installerCmdline, "Choose language")
					return
				}
				expect(t, ctx, m, markerRuns, "next kernel done")
				if secure := strings.Contains(m.Serial(), "Secure Boot is on"); secure != (test.firmware == vm.SecureBoot) {
					t.Errorf("the agent says that Secure Boot is on: %v", secure)
				}
			})
		}
	})
	shown := w.farboot(t, "machines")
	for i, test := range tests {
		id, entry := fmt.Sprintf("mac-52-54-00-00-01-%02x", i), "marker"
		if test.installer {
			entry = "installer"
		}
		if !regexp.MustCompile(`(?m)^.* ago +handing-over +` + entry + ` .* ` + id + `$`).MatchString(shown) {
			t.Errorf("farboot machines does not show that %s boots %s:\n%s", id, entry, shown)
		}
		if said := log.of(id); !strings.Contains(said, "handing over: "+entry) {
			t.Errorf("syslog has of %s:\n%s", id, said)
		}
	}
}

// serve serves the site by the command, which keeps reports where "farboot
// machines" looks for them, and returns the URL for guests.
func (w *world) serve(t *testing.T) (url string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "farboot"), "serve", "out/site", "--listen", "127.0.0.1:0", "--reports", "out/reports")
	cmd.Dir = w.dir
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	first := lines.Scan()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) //nolint:errcheck // Wait tells
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("farboot serve: %v", err)
		}
	})
	_, port, ok := strings.Cut(lines.Text(), "http://127.0.0.1:")
	if !first || !ok {
		t.Fatalf("farboot serve says %q", lines.Text())
	}
	return "http://10.0.2.2:" + port
}

// syslog is a server for RFC 5424 over UDP.
type syslog struct {
	url string // as guests reach it

	mu       sync.Mutex
	messages []string
}

// listenSyslog listens until the test ends.
func listenSyslog(t *testing.T) *syslog {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &syslog{url: fmt.Sprintf("udp://10.0.2.2:%d", conn.LocalAddr().(*net.UDPAddr).Port)}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.messages = append(s.messages, string(buf[:n]))
			s.mu.Unlock()
		}
	}()
	return s
}

// of returns what a machine has said.
func (s *syslog) of(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := regexp.MustCompile(`^<\d+>1 \S+ ` + id + ` farboot `) // section 6.2
	return strings.Join(slices.DeleteFunc(slices.Clone(s.messages), func(m string) bool { return !header.MatchString(m) }), "\n")
}

// TestSmallMachine is the memory budget: 256 MB are enough for the agent, with
// the modules of the shipped recipe, and a small kernel with its initrd. What is
// not enough is said before anything large is fetched, and no process is killed.
func TestSmallMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe, w.url), []byte("[net]"), []byte("[net, usb]"), 1))
	image, _ := w.build(t)
	good := site.Handler(w.site, nil)
	for _, memory := range []int{192, 256, 512} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			var objects atomic.Int32
			w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/objects/") {
					objects.Add(1)
				}
				good.ServeHTTP(rw, r)
			}))
			m, ctx := start(t, vm.Config{Image: image, Memory: memory})
			said, err := m.Expect(ctx, "handing over", "[no-memory]", "Out of memory", "out of memory", "Kernel panic")
			switch {
			case err != nil:
				t.Fatal(err)
			case said == "handing over":
				expect(t, ctx, m, markerRuns, "next kernel done")
			case said != "[no-memory]" || memory >= 256:
				t.Errorf("%q with %d MB", said, memory)
			case objects.Load() > 0:
				t.Error("the machine is found too small after a download")
			default:
				expect(t, ctx, m, "waiting")
			}
		})
	}
}

// TestNetboot starts the netboot folder by QEMU's own TFTP server and iPXE. Its
// initramfs is compressed by zstd.
func TestNetboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", w.url))
	_, folder := w.build(t)
	m, ctx := start(t, vm.Config{Netboot: folder, Bootfile: "boot.ipxe"})
	expect(t, ctx, m, "farboot: medium", "handing over", markerRuns, "next kernel done")
}
