package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlain(t *testing.T) {
	for raw, want := range map[string]string{
		"hello\r\nworld\r\n":                           "hello\nworld\n",
		"10%\r20%\r\r\n":                               "10%\n20%\n",
		"\x1b[1;31mred\x1b[0m \x1b[?25lx":              "red x",
		"\x1b[5;10HChoose\x1b[Clanguage":               "\nChoose language",
		"\x1b(0lqk\x1b(B|\x1b)0":                       "lqk|",
		"\x1b]0;title\aa\x1b]2;title\x1b\\b":           "ab",
		"\x1bP+q544e\x1b\\c\x1b7d\x1b=e":               "cde",
		"bell\a back\b nul\x00 del\x7f \ttab \xe2\x9c": "bell back nul del \ttab \xe2\x9c",
		"\x1b": "",
	} {
		var whole, parts plain
		if got := string(whole.append(nil, []byte(raw))); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
		var got []byte
		for _, b := range []byte(raw) {
			got = parts.append(got, []byte{b})
		}
		if string(got) != want {
			t.Errorf("%q byte by byte: %q, want %q", raw, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x1b[5;10HChoose\x1b[Clanguage\r\n\x1b]0;t\a"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var whole, parts plain
		want := string(whole.append(nil, raw))
		if strings.ContainsAny(want, "\x1b\r\a\b\x00") {
			t.Errorf("control characters in %q", want)
		}
		cut := len(raw) / 2
		if got := string(parts.append(parts.append(nil, raw[:cut]), raw[cut:])); got != want {
			t.Errorf("in two parts %q, at once %q", got, want)
		}
	})
}

// show writes text byte by byte, as QEMU does, and ends the console.
func show(c *console, text string) {
	for _, b := range []byte(text) {
		c.Write([]byte{b})
		time.Sleep(time.Millisecond)
	}
	c.end()
}

func TestExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		go show(c, "GRUB\r\nlo\x1b[1mgin: log\r\nlogin: bye\r\n")
		for _, tt := range []struct{ phrases, want string }{
			{"login:|GRUB", "GRUB"},
			{"log", "log"},
			{"log|login:", "log"}, // "in:" is left of the first one; the bare log is next
			{"log|login: bye", "log"},
			{"bye", "bye"},
		} {
			got, err := c.expect(t.Context(), strings.Split(tt.phrases, "|"))
			if err != nil || got != tt.want {
				t.Errorf("expect %q: %q, error %v, want %q", tt.phrases, got, err, tt.want)
			}
		}
		if _, err := c.expect(t.Context(), []string{"bye"}); err == nil {
			t.Error("found twice what came once")
		}
	})
}

func TestExpectAtOnce(t *testing.T) {
	c := newConsole(nil)
	c.Write([]byte("panic: login: x"))
	if got, _ := c.expect(t.Context(), []string{"login", "x", "login:", "panic:"}); got != "panic:" {
		t.Errorf("%q, want what comes first", got)
	}
	if got, _ := c.expect(t.Context(), []string{"login", "x", "login:"}); got != "login:" {
		t.Errorf("%q, want the longest", got)
	}
	c.end()
	if got, err := c.expect(t.Context(), []string{"x"}); err != nil || got != "x" {
		t.Errorf("%q, error %v: what stands there is found after the end, too", got, err)
	}
}

func TestExpectInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		for i := range 100 {
			fmt.Fprintf(c, "line %d\r\n\r\n", i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := c.expect(ctx, []string{"hello"})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want the deadline's", err)
		}
		if got := strings.Count(err.Error(), "\tline "); got != 40 || strings.Contains(err.Error(), "line 59\n") {
			t.Errorf("%d lines in %q, want the last 40", got, err)
		}
		go func() {
			time.Sleep(time.Second)
			c.end()
		}()
		if _, err := c.expect(t.Context(), []string{"hello"}); err == nil || !strings.Contains(err.Error(), "the machine has ended") {
			t.Errorf("error %v, want that the machine has ended", err)
		}
	})
}
