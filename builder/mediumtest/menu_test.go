//go:build boot

package mediumtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/vm"
)

// Phrases of GRUB, of what its entries start, and of the agent.
const (
	menuShown    = "Use the ^ and v keys"
	asksName     = "Enter username:"
	asksPassword = "Enter password:"
	memtestRuns  = "Memtest86+ v"
	xenRuns      = "(XEN) Command line: console=vga,com1 com1=115200,8n1 dom0_mem=1024M\n"
	agentRuns    = "farboot: medium "
	diskRuns     = "the disk's boot sector runs, from drive 0"
)

// Keys, as a serial terminal sends them.
const (
	down  = "\x1b[B"
	enter = "\r"
)

// TestMenu builds the shipped recipe with a menu of all kinds, with a password
// and Xen for those who choose nothing, and starts them. A machine is reset in
// between: GRUB takes seconds, QEMU longer. Under UEFI the firmware and GRUB both
// read the serial line and share what is typed, so that nothing is chosen there.
func TestMenu(t *testing.T) {
	p := menuProject(t)
	image := filepath.Join(p.dir, "out", "menu.iso")
	t.Run("BIOS", func(t *testing.T) {
		m := &desk{t: t, ctx: t.Context()}
		m.start(vm.Config{Image: image, Bus: vm.USB, Disks: []vm.Disk{{File: bootSector(t), Bus: vm.SATA}}})
		m.isAsked("e")
		m.testKinds()
		m.testXen()
	})
	t.Run("UEFI", func(t *testing.T) {
		m := &desk{t: t, ctx: t.Context()}
		m.start(vm.Config{Image: image, Firmware: vm.UEFI})
		m.isAsked("c")
		m.testXen()
	})
	t.Run("Secure Boot", func(t *testing.T) {
		m := &desk{t: t, ctx: t.Context()}
		m.start(vm.Config{Image: image, Firmware: vm.SecureBoot})
		m.expect(menuShown)
		m.expect("automatically", agentRuns)
		if shown := m.Serial(); !strings.Contains(shown, "Ask the site") || !strings.Contains(shown, "Next boot device") ||
			strings.Contains(shown, "Xen, and") || strings.Contains(shown, "Memory test") || strings.Contains(shown, "(XEN)") {
			t.Errorf("the menu shows what cannot start, or not what can:\n%s", shown)
		}
	})
}

// isAsked tries to get past the password with a key of GRUB's menu.
func (m *desk) isAsked(key string) {
	m.expect(menuShown)
	m.send(key)
	m.expect(asksName)
	m.send("admin" + enter)
	m.expect(asksPassword)
	m.send("guess" + enter)
	m.expect("access denied")
}

// testKinds chooses what is installed, which is two below the default, and after
// a reset the memory test, which is one below and locked.
func (m *desk) testKinds() {
	m.expect(menuShown)
	m.send(down + down + enter)
	m.expect(diskRuns)

	m.reset()
	m.expect(menuShown)
	m.send(down + enter)
	m.expect(asksName)
	m.send("admin" + enter)
	m.expect(asksPassword)
	m.send("secret" + enter)
	m.expect(memtestRuns)
}

// testXen resets the machine and chooses nothing.
func (m *desk) testXen() {
	m.reset()
	m.expect(menuShown, xenRuns, agentRuns)
}

// menuProject makes a project with the medium.
func menuProject(t *testing.T) *project {
	t.Helper()
	p := newProject(t, "menu")
	recipe, err := os.ReadFile(filepath.Join(root, "recipes", "menu.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for old, with := range map[string]string{
		"default: Ask the site ": "default: Xen, and the agent in dom0",
		"title: Memory test,":    "title: Memory test, locked: true,",
	} {
		if bytes.Count(recipe, []byte(old)) != 1 {
			t.Fatalf("the recipe has not one %q", old)
		}
		recipe = bytes.Replace(recipe, []byte(old), []byte(with), 1)
	}
	recipe = append(recipe, "\ncompression: zstd\npassword: "+hashed(t, "secret")+"\n"...)
	p.write(t, "recipes/menu.yaml", recipe)
	p.farboot(t, "keys", "init", "--secrets", filepath.Join(base, "menu-secret"))
	p.farboot(t, "lock", "recipes/menu.yaml")
	p.farboot(t, "build", "recipes/menu.yaml")
	oracle.Output(t, oracle.Tool(t, "grub-script-check", "grub-common"), filepath.Join(p.dir, "out/menu/grub/grub.cfg"))
	return p
}

// hashed has GRUB's own program hash a password.
func hashed(t *testing.T, password string) string {
	t.Helper()
	cmd := exec.Command(oracle.Tool(t, "grub-mkpasswd-pbkdf2", "grub-common"))
	cmd.Stdin = strings.NewReader(password + "\n" + password + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, hash, found := strings.Cut(string(out), " is ")
	if !found {
		t.Fatalf("grub-mkpasswd-pbkdf2 prints %q", out)
	}
	return strings.TrimSpace(hash)
}

// bootSector makes a disk whose boot sector says on COM1 which drive it was
// started from.
func bootSector(t *testing.T) string {
	t.Helper()
	const at = 0x7c00
	code := []byte{
		0xfc,       // cld
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x80, 0xe2, 0x7f, // and dl, 7fh: 80h is the first disk
		0x80, 0xc2, '0', // add dl, '0'
		0x88, 0x16, 0, 0, // mov [digit], dl
		0xbe, 0, 0, // mov si, text
		0xba, 0xf8, 0x03, // mov dx, 3f8h
		0xac,       // next: lodsb
		0xee,       // out dx, al
		0x84, 0xc0, // test al, al
		0x75, 0xfa, // jnz next
		0xf4, 0xeb, 0xfd, // hlt; jmp to it
	}
	text := at + len(code)
	digit := text + len(diskRuns) - 1
	code[13], code[14] = byte(digit), byte(digit>>8)
	code[16], code[17] = byte(text), byte(text>>8)
	disk := make([]byte, 1<<20)
	copy(disk, append(code, diskRuns...))
	disk[510], disk[511] = 0x55, 0xaa
	return saved(t, disk)
}

// saved writes a disk to a file.
func saved(t *testing.T, disk []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// desk is who sits at a machine.
type desk struct {
	*vm.VM
	t   *testing.T
	ctx context.Context
}

// errLate ends a machine that is stuck.
var errLate = errors.New("nothing came for 4 minutes")

// start starts the machine.
func (m *desk) start(c vm.Config) {
	m.t.Helper()
	c.Memory, c.Reboots, c.VGA = 2048, true, true
	var err error
	if m.VM, err = vm.Start(m.ctx, c); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.Stop)
}

// expect waits for phrases, one after the other.
func (m *desk) expect(phrases ...string) {
	m.t.Helper()
	for _, phrase := range phrases {
		ctx, cancel := context.WithTimeoutCause(m.ctx, 4*time.Minute, errLate)
		_, err := m.Expect(ctx, phrase)
		cancel()
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// send types keys.
func (m *desk) send(keys string) {
	m.t.Helper()
	if err := m.Type(keys); err != nil {
		m.t.Fatal(err)
	}
}

// reset presses the machine's button.
func (m *desk) reset() {
	m.t.Helper()
	if err := m.Execute(m.ctx, "system_reset", nil, nil); err != nil {
		m.t.Fatal(err)
	}
}
