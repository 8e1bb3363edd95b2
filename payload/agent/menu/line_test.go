package menu

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chosen feeds text to a new line and returns the items that it chooses.
func chosen(labels []string, text string) (items []int) {
	l := line{labels: labels}
	for i := range len(text) {
		if e, item := l.feed(text[i]); e == choice {
			items = append(items, item)
		}
	}
	return items
}

func TestLabels(t *testing.T) {
	if diff := cmp.Diff([]string{"1b", "2c", "3d"}, labels(3)); diff != "" {
		t.Error(diff)
	}
	many := labels(256)
	for i, want := range map[int]string{0: "001b", 8: "009k", 16: "017x", 17: "018b", 255: "256b"} {
		if many[i] != want {
			t.Errorf("label %d is %q, want %q", i, many[i], want)
		}
	}
}

// On a bad line no single error makes another label of one: a byte that is lost,
// doubled, inserted, swapped with its neighbour or turned into any other one; nor
// does a line that doubles every byte.
func TestOneErrorChoosesNothingElse(t *testing.T) {
	for _, n := range []int{1, 3, 9, 10, 25, 99, 100, 256} {
		all := labels(n)
		for i, label := range all {
			typed := label + "\r"
			bad := map[string]string{"every byte doubled": ""}
			for at := range typed {
				before, b, after := typed[:at], typed[at:at+1], typed[at+1:]
				bad["every byte doubled"] += b + b
				bad["lost "+b] = before + after + "\r"
				if after != "" {
					bad["swapped "+b] = before + after[:1] + b + after[1:] + "\r"
				}
				for c := range 256 {
					other := string([]byte{byte(c)})
					bad[fmt.Sprintf("%q for %q at %d", other, b, at)] = before + other + after + "\r"
					bad[fmt.Sprintf("%q before %q at %d", other, b, at)] = before + other + b + after
				}
			}
			for what, text := range bad {
				for _, got := range chosen(all, text) {
					if got != i {
						t.Fatalf("%d items, %q, %s: %q chooses %q", n, label, what, text, all[got])
					}
				}
			}
		}
	}
}

// What the bytes of a line choose.
func TestLine(t *testing.T) {
	three, many := labels(3), labels(12)
	for _, test := range []struct {
		name   string
		labels []string
		text   string
		want   []int
	}{
		{"label", three, "2c\r", []int{1}},
		{"line feed", three, "2c\n", []int{1}},
		{"telnet", three, "\r\x002c\r\x00", []int{1}},
		{"CR LF", three, "\r\n2c\r\n", []int{1}},
		{"capital", three, "2C\r", []int{1}},
		{"BREAK before", three, "\x00\x00\x002c\r", []int{1}},
		{"behind noise", three, "\xff\xfe~\r2c\r", []int{1}},
		{"two digits", many, "02c\r12r\r", []int{1, 11}},
		{"no Enter", three, "2c", nil},
		{"lone digit", three, "2\r", nil},
		{"number alone of two digits", many, "2c\r", nil},
		{"wrong letter", three, "2b\r", nil},
		{"no such item", three, "4e\r", nil},
		{"zero", three, "0x\r", nil},
		{"noise", three, "\xff2c\r", nil},
		{"blank", three, " 2c\r", nil},
		{"blank behind", three, "2c \r", nil},
		{"tab", three, "2c\t\r", nil},
		{"name", three, "debian\r", nil},
		{"backspace", three, "1b\b\b2c\r", nil},
		{"delete", three, "3\x7f2c\r", nil},
		{"kill line", three, "1\x152c\r", nil},
		{"XOFF and XON", three, "\x132c\r\x11", nil},
		{"ctrl-C, ctrl-D, ctrl-Z, ctrl-\\", three, "\x03\r\x04\r\x1a\r\x1c\r", nil},
		{"cursor down, Enter", three, "\x1b[B\r", nil},
		{"cursor keys cut in half", three, "[B\r\x1b\r[\rB\r\x1bOB\rOB\r", nil},
		{"answer of a terminal", three, "\x1b[24;80R\r\x1b[?1;2c\r", nil},
		{"a number from an answer", three, "\x1b[1b\r", nil},
		{"paste", three, "\x1b[200~2c\r\x1b[201~", nil},
		{"another getty", three, "\r\nlogin: \r\nPassword: \r\n", nil},
		{"shell", three, "sh\rid\r/bin/sh\rinit=/bin/sh\r:!sh\r", nil},
		{"sequence in UTF-8", three, "\xe2\x91\xa12c\r", nil},
		{"full-width digit", three, "\uff12c\r", nil},
		{"eighth bit", three, "\xb2\xe3\x8d", nil},
		{"long line", three, strings.Repeat("2c", 1<<20) + "\r", nil},
		{"behind a long line", three, strings.Repeat("x", 1<<20) + "\r3d\r", []int{2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, chosen(test.labels, test.text)); diff != "" {
				t.Errorf("%.80q: %s", test.text, diff)
			}
		})
	}
}

// What a menu prints chooses nothing when the line sends it back, as loops,
// modems and another machine's menu do.
func TestEchoChoosesNothing(t *testing.T) {
	for _, n := range []int{1, 3, 40} {
		d := newDialog(items(n))
		for range 4 {
			for _, line := range d.hear(0, "ttyS0", []byte("x\r\r")) {
				if got := chosen(d.labels, line+"\r\n"); got != nil {
					t.Errorf("%q chooses %d", line, got)
				}
			}
			d.typists["ttyS0"].answered = -hush
		}
	}
}
