package guest

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/vmagent/wire"
)

// What a guest says is shown as it is; what it must not say ends the session.
func TestListen(t *testing.T) {
	for want, say := range map[string]func(w *wire.Writer){
		"3 out err": func(w *wire.Writer) {
			w.Send(wire.Stdout, []byte("out"))
			w.Send(wire.Stderr, []byte("err"))
			w.Send(wire.End, []byte(`{"status":3,"error":""}`))
		},
		"exit status 256": func(w *wire.Writer) { w.Send(wire.End, []byte(`{"status":256,"error":""}`)) },
		"exit status -1":  func(w *wire.Writer) { w.Send(wire.End, []byte(`{"status":-1,"error":""}`)) },
		"unknown":         func(w *wire.Writer) { w.Send(wire.End, []byte(`{"status":0,"error":"","more":1}`)) },
		"of kind 2":       func(w *wire.Writer) { w.Send(wire.Start, nil) },
		"EOF":             func(*wire.Writer) {},
	} {
		ours, theirs := net.Pipe()
		go func() {
			say(wire.NewWriter(theirs))
			theirs.Close()
		}()
		var out, errs bytes.Buffer
		r, err := (&session{conn: ours}).listen(&out, &errs)
		got := ""
		if err != nil {
			got = err.Error()
		} else if r.Status == 3 {
			got = "3 " + out.String() + " " + errs.String()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		ours.Close()
	}
}

// KVM that failed once is not tried again until this computer is started anew.
func TestKVMNote(t *testing.T) {
	n := kvmNote{t.TempDir() + "/note"}
	before := n.worth()
	n.failed()
	if n.worth() {
		t.Error("it is tried again")
	}
	if err := os.WriteFile(n.path, []byte("another start"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n.worth() != before {
		t.Error("the note outlives a restart")
	}
}
