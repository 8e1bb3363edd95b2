//go:build boot

package boottest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// menuSeconds is how long the menu is shown.
const menuSeconds = 15

// menuSite offers three entries, the first of which is the machine's own.
func menuSite() string {
	entry := `  %s:
    title: %s
    linux: {kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}, initrd: [{file: marker.img}], cmdline: "console=ttyS0,115200 quiet chosen=%[1]s"}
`
	return "kind: site\nentries:\n" + fmt.Sprintf(entry, "first", "The machine's own") +
		fmt.Sprintf(entry, "second", "Another one") + fmt.Sprintf(entry, "third", "One more") +
		fmt.Sprintf("default: [first]\nmenu: {seconds: %d, entries: [second, third]}\n", menuSeconds)
}

// newMenuWorld returns a medium for a world with that site. change is made to the
// medium's recipe.
func newMenuWorld(t *testing.T, change ...string) (image string) {
	t.Helper()
	w := newWorld(t)
	w.write(t, "recipes/site.yaml", []byte(menuSite()))
	w.farboot(t, "lock", "recipes/site.yaml")
	w.publish(t)
	w.write(t, "recipes/netboot.yaml", []byte(strings.NewReplacer(change...).Replace(fmt.Sprintf(mediumRecipe, w.url))))
	image, _ = w.build(t)
	return image
}

// Phrases of a menu that stands, and of one that was left.
const (
	menuStands = "Type a label, such as 3d, and Enter. Enter alone shows this again."
	menuFirst  = "Without a choice it is 1b first in"
)

// TestMenuOnSerial: noise and half a label choose nothing; a label does, also
// after an XOFF.
func TestMenuOnSerial(t *testing.T) {
	t.Parallel()
	m, ctx := start(t, vm.Config{Image: newMenuWorld(t)})
	expect(t, ctx, m, "choose: first", "  1b  The machine's own (first)", "  2c  Another one (second)", "  3d  One more (third)", menuStands, menuFirst)
	if err := m.Type("\x13\x00\xff\x1b[B\r\r2\rsh\r\x033d\r2c\r"); err != nil { // the noise spoils 3d
		t.Fatal(err)
	}
	expect(t, ctx, m, "menu: 2c second, chosen on ttyS0", "handing over: second", "next kernel runs: console=ttyS0,115200 quiet chosen=second", "next kernel done")
}

// TestMenuOnScreen: the same menu stands on the screen, and the machine's own
// keyboard chooses; also where Scroll Lock has stopped the screen, which then takes
// no more lines.
func TestMenuOnScreen(t *testing.T) {
	t.Parallel()
	m, ctx := start(t, vm.Config{Image: newMenuWorld(t), VGA: true})
	expect(t, ctx, m, menuStands)
	waitForScreen(t, ctx, m, "What shall this machine boot?", "  1b  The machine's own (first)", "  3d  One more (third)", menuStands)
	for _, key := range []string{"down", "esc", "f1", "ret", "scroll_lock", "3", "d", "ret"} { // a spoiled line; a screen that stands still
		args := map[string]any{"keys": []any{map[string]any{"type": "qcode", "data": key}}}
		if err := m.Execute(ctx, "send-key", args, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // QEMU holds each key for 100 ms
	}
	expect(t, ctx, m, "menu: 3d third, chosen on tty0", "handing over: third", "next kernel runs: console=ttyS0,115200 quiet chosen=third", "next kernel done")
}

// waitForScreen waits until the screen shows the lines. Each console has a writer of
// its own, and the serial line's may be ahead.
func waitForScreen(t *testing.T, ctx context.Context, m *vm.VM, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		lines := screen(t, ctx, m)
		lacks := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains(lines, "\n"+w) })
		if len(lacks) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no lines %q on the screen:\n%s", lacks, lines)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// screen returns what lies in the memory of a VGA card in text mode, as lines of
// 80 characters. It holds some more than the 25 that are seen.
func screen(t *testing.T, ctx context.Context, m *vm.VM) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "vga")
	// 0xb8000 and 32 KiB: drivers/video/console/vgacon.c; a character and its colour.
	if err := m.Execute(ctx, "pmemsave", map[string]any{"val": 0xb8000, "size": 32 << 10, "filename": name}, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := 0; i+1 < len(data); i += 2 {
		if i%160 == 0 {
			text.WriteByte('\n')
		}
		text.WriteByte(data[i])
	}
	return text.String()
}

// TestHammered: from the agent's first line to the hand-over somebody types at the
// serial console whatever opens a prompt elsewhere, with BREAKs among it and a key
// of SysRq behind each. The machine neither resets nor asks anything but its menu,
// where all that noise chooses nothing.
func TestHammered(t *testing.T) {
	t.Parallel()
	m, ctx, line := startOnLine(t, newMenuWorld(t, "ttyS0", "ttyS1"))
	line.await(ctx, t, "farboot: medium")
	hammering, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		keys := []string{"b", "o", "k", "e", "i", "c", "s", "u", "r", "t", "m", "w", "h", "\x00", "\xff"}
		noise := []string{"\x13", "\r\nid\r", "\x03\x1c\x1a\x04", "\x1b[A\x1b[B\x1bOP", "\x00\x00", "sh\r", "2", "\x13b\xff", "e\x18c", "root\r", "\t\t", ":!sh\r"}
		for i := 0; hammering.Err() == nil; i++ {
			line.snap(keys[i%len(keys)])
			line.send(noise[i%len(noise)])
			time.Sleep(100 * time.Millisecond)
		}
	}()
	line.await(ctx, t, menuFirst, "menu: nobody chose: 1b first", "handing over: first")
	stop()
	expect(t, ctx, m, "next kernel runs: console=ttyS0,115200 quiet chosen=first", "next kernel done")
	for _, bad := range []string{"sysrq:", "uid=", "# ", "login:", "Kernel panic", "starting over"} {
		if strings.Contains(line.text(), bad) {
			t.Errorf("%q is on the console:\n%s", bad, line.text())
		}
	}
}

// TestBreak is TestHammered's control: BREAKs do arrive. Where the medium's command
// line wants SysRq, one of them resets the machine.
func TestBreak(t *testing.T) {
	t.Parallel()
	m, ctx, line := startOnLine(t, newMenuWorld(t, "ttyS0", "ttyS1", "no_timer_check", "no_timer_check sysrq_always_enabled"))
	line.await(ctx, t, "farboot: medium")
	line.snap("b")
	line.await(ctx, t, "sysrq: Resetting")
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
}

// line is a serial line behind telnet, where a BREAK can be sent.
type line struct {
	conn net.Conn

	mu      sync.Mutex
	got     []byte
	changed chan struct{}
}

// startOnLine starts a machine whose second serial port is a line.
func startOnLine(t *testing.T, image string) (*vm.VM, context.Context, *line) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	m, ctx := start(t, vm.Config{Image: image, Args: []string{
		"-chardev", "socket,id=second,server=on,wait=off,telnet=on,path=" + socket, "-serial", "chardev:second",
	}})
	if err := m.Execute(ctx, "query-status", nil, nil); err != nil { // then the socket is there
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &line{conn: conn, changed: make(chan struct{}, 1)}
	go io.Copy(l, conn) //nolint:errcheck // ends with the machine
	return m, ctx, l
}

// Write takes what the machine prints.
func (l *line) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, p...)
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

// text returns what the machine has printed.
func (l *line) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.got)
}

// await waits until the machine has printed all phrases.
func (l *line) await(ctx context.Context, t *testing.T, phrases ...string) {
	t.Helper()
	for _, p := range phrases {
		begin := time.Now()
		for !strings.Contains(l.text(), p) {
			select {
			case <-l.changed:
			case <-ctx.Done():
				t.Fatalf("the second serial line does not show %q:\n%s", p, l.text())
			}
		}
		t.Logf("%6.1f s  %s", time.Since(begin).Seconds(), p)
	}
}

// send types text. Errors are those of a machine that has ended.
func (l *line) send(text string) {
	io.WriteString(l.conn, strings.ReplaceAll(text, "\xff", "\xff\xff")) //nolint:errcheck
}

// snap sends a BREAK and then text, as soon as the UART has room for it.
func (l *line) snap(text string) {
	io.WriteString(l.conn, "\xff\xf3") //nolint:errcheck // IAC BRK (RFC 854)
	time.Sleep(50 * time.Millisecond)
	l.send(text)
}
