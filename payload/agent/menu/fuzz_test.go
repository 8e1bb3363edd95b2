package menu

import (
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
)

// FuzzInput types any bytes at a menu, on two consoles and at any times. Whatever
// they are, the menu ends in its time and two minutes, what it prints fits, and an
// item was chosen only where its label stands on a line of its own.
func FuzzInput(f *testing.F) {
	// How many items less one; then a time, how many bytes, and the bytes.
	f.Add(uint16(2), []byte("\x05\x032c\r"))
	f.Add(uint16(39), []byte("\x00\x02\r\r\x81\x0440g\r\xff\x02\r\n"))
	f.Add(uint16(255), []byte("\x10\x0e\x00\x13\xff\x11\x1b[1;5A001b"))
	f.Add(uint16(11), []byte("\x8f\x0212\x05\x0312r\x83\x02r\r"))
	f.Fuzz(func(t *testing.T, n uint16, script []byte) {
		m := items(int(n%256) + 1)
		d, all := newDialog(m), map[string][]byte{}
		var now time.Duration
		printed, beats := 0, 0
		print := func(lines ...string) {
			for _, line := range lines {
				if printed++; line == "" || len(line) > columns || line != console.Clean(line) {
					t.Fatalf("%q is printed", line)
				}
			}
		}
		tick := func() {
			if line := d.tick(now); line != "" {
				print(line)
			}
		}
		// Each step is a time to wait, and a console and its bytes.
		for !d.over && len(script) > 2 {
			until := now + time.Duration(script[0]&0x7f)*300*time.Millisecond
			name := "ttyS0"
			if script[0]&0x80 != 0 {
				name = "tty0"
			}
			for beats = 0; !d.over && d.next <= until; beats++ {
				if now = max(now, d.next); beats > 100 {
					t.Fatalf("no end of ticks at %v", now)
				}
				tick()
			}
			size := min(int(script[1]), len(script)-2)
			if now = max(now, until); !d.over {
				all[name] = append(all[name], script[2:2+size]...)
				print(d.hear(now, name, script[2:2+size])...)
			}
			script = script[2+size:]
			tick()
		}
		for beats = 0; !d.over; beats++ {
			if now = max(now, d.next); beats > 1000 {
				t.Fatalf("no end of ticks at %v", now)
			}
			tick()
		}
		if now > m.Time+extra {
			t.Errorf("the menu took %v", now)
		}
		if most := 30 * (2 + int(now/hush)); printed > 2*most {
			t.Errorf("%d lines were printed in %v", printed, now)
		}
		if d.by == "" {
			if d.chosen != 0 {
				t.Errorf("nobody chose %d", d.chosen)
			}
			return
		}
		// What a slow and simple reader sees on that console.
		typed := strings.ReplaceAll(strings.ToLower(string(all[d.by])), "\x00", "")
		for line := range strings.FieldsFuncSeq(typed, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if line == labels(len(m.Items))[d.chosen] {
				return
			}
		}
		t.Errorf("%q chose %s", typed, d.item(d.chosen))
	})
}
