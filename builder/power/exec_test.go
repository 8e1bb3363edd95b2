package power

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

// plug writes a program for a socket, into a project.
func plug(t *testing.T, text string) Config {
	t.Helper()
	c := Config{Name: "room-4-01", MAC: "52:54:00:00:04:01", Secret: password, Dir: t.TempDir()}
	c.Driver, c.Command, c.User = recipe.DriverExec, []string{"./plug", "--outlet", "4"}, user
	if err := os.WriteFile(filepath.Join(c.Dir, "plug"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExec(t *testing.T) {
	t.Parallel()
	c := plug(t, `echo "$* $FARBOOT_MACHINE $FARBOOT_MAC $FARBOOT_USER $FARBOOT_PASSWORD" >>log; [ "$3" = status ] && echo ON; exit 0`)
	d := driverOf(t, c)
	if state, err := d.State(t.Context()); err != nil || state != IsOn {
		t.Errorf("%q, %v", state, err)
	}
	for _, a := range Actions() {
		if err := d.Do(t.Context(), a); err != nil {
			t.Error(err)
		}
	}
	if err := d.BootNext(t.Context(), HTTP); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(c.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, what := range []string{"status", "on", "off", "cycle", "reset", "boot-next http"} {
		want.WriteString("--outlet 4 " + what + " room-4-01 52:54:00:00:04:01 " + user + " " + password + "\n")
	}
	if diff := cmp.Diff(want.String(), string(log)); diff != "" {
		t.Error(diff)
	}
}

func TestExecFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text  string
		class error
		says  string
	}{
		"fails":              {"echo first >&2; echo 'no such outlet' >&2; exit 1", ErrFailed, `"no such outlet"`},
		"cannot":             {"exit 3", ErrUnsupported, "status"},
		"wrong password":     {"exit 4", ErrPassword, ""},
		"says nothing":       {"", ErrFailed, "want on or off"},
		"says something":     {"printf '\\033[2J'", ErrFailed, `\x1b`},
		"slow":               {"sleep 1000", ErrSlow, ""},
		"its child is slow":  {"sleep 1000 & wait", ErrSlow, ""},
		"its child stays":    {"sleep 1000 & echo on; exit 7", ErrFailed, ""},
		"endless":            {"yes", ErrSlow, ""},
		"killed":             {"kill -9 $$", ErrFailed, "killed"},
		"no program of ours": {"\x00", ErrFailed, ""},
	} {
		c := plug(t, tt.text)
		if tt.class == ErrSlow {
			c.Seconds = 1
		}
		begin := time.Now()
		_, err := driverOf(t, c).State(t.Context())
		wantClass(t, name, err, tt.class)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("%s: took %s", name, took)
		}
	}
	c := plug(t, "")
	c.Command = []string{"./missing"}
	_, err := driverOf(t, c).State(t.Context())
	wantClass(t, "missing", err, ErrFailed)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := driverOf(t, plug(t, "sleep 1000")).Do(ctx, On); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// The packet stays on the loopback.
func TestWOL(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := Config{MAC: "52:54:00:AA:04:01"}
	c.Driver, c.Address = recipe.DriverWOL, conn.LocalAddr().String()
	d := driverOf(t, c)
	if err := Switch(t.Context(), d, On); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 2048)
	n, _, err := conn.ReadFrom(packet)
	want := strings.Repeat("\xff", 6) + strings.Repeat("\x52\x54\x00\xaa\x04\x01", 16)
	if err != nil || string(packet[:n]) != want {
		t.Errorf("%x, %v", packet[:n], err)
	}
	_, err = d.State(t.Context())
	wantClass(t, "state", err, ErrUnsupported)
	wantClass(t, "off", Switch(t.Context(), d, Off), ErrUnsupported)
	wantClass(t, "boot", d.BootNext(t.Context(), PXE), ErrUnsupported)
}
