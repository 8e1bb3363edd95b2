package boot

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// image is a toolbox, as far as the lab is concerned.
var image = []byte("hsqs, a squashfs that is longer than a script")

// works is what the lab's toolbox does.
type works struct {
	run func(c script.Config, h control.Handlers) (status int, next *control.Next)

	opened, closed int
	images         []string
	logins         []Login
	people         func(ctx context.Context, h control.Handlers, asks func(control.Next)) error // who logs in
	living         func(c live.Config) (Living, error)
	secret         []byte // that the machine keeps
	programs       []string
	configs        []script.Config
}

// keep stands for persist's Secret.
func (w *works) keep(machine string) ([]byte, string, error) {
	if w.secret == nil {
		return nil, "", errors.New("no stick")
	}
	return w.secret, "the stick of " + machine, nil
}

// bench is one toolbox of the lab that is open.
type bench struct {
	*works
	handlers control.Handlers
	next     *control.Next
	asked    chan struct{}
	stopped  chan string
}

// open stands for toolbox.Open.
func (w *works) open(_ context.Context, image *os.File) (Tools, error) {
	data, err := io.ReadAll(image)
	w.opened++
	w.images = append(w.images, string(data))
	return &bench{works: w, asked: make(chan struct{}, 1), stopped: make(chan string, 1)}, err
}

func (b *bench) Listen(h control.Handlers) (Asker, error) {
	b.handlers = h
	return asker{b}, nil
}

func (b *bench) Script(_ context.Context, c script.Config) (script.Result, error) {
	program, err := io.ReadAll(c.Program)
	if err != nil {
		return script.Result{}, err
	}
	c.Program = nil
	b.programs, b.configs = append(b.programs, string(program)), append(b.configs, c)
	result := script.Result{Tail: []string{"the end"}, Limit: c.Limit}
	if b.run != nil {
		result.Status.Code, b.next = b.run(c, b.handlers)
	}
	return result, nil
}

func (b *bench) Login(l Login) (Door, error) {
	b.logins = append(b.logins, l)
	if l.Port == 1 {
		return nil, errors.New("rescue: address already in use")
	}
	return b, nil
}

func (b *bench) Live(_ context.Context, c live.Config) (Living, error) {
	return b.living(c)
}

func (b *bench) Fingerprint() string { return "SHA256:abc" }
func (b *bench) Stop(message string) { b.stopped <- message }

// Serve lets in whoever the test says.
func (b *bench) Serve(ctx context.Context, idle time.Duration) error {
	err := b.people(ctx, b.handlers, func(next control.Next) {
		b.next = &next
		b.asked <- struct{}{}
	})
	if err == nil && idle == 0 {
		<-b.stopped
	}
	return err
}

func (b *bench) Close() error { b.closed++; return nil }

// asker is what the lab's programs ask for.
type asker struct{ *bench }

func (a asker) Asked() <-chan struct{} { return a.asked }
func (a asker) Close()                 {}

func (a asker) Next() (control.Next, bool) {
	if a.next == nil {
		return control.Next{}, false
	}
	return *a.next, true
}

// program is a script.
var program = []byte("#!/bin/sh\nexit 0\n")

// scripted makes the machine's list a script, "repair", and then the installer.
func scripted(t *testing.T, x manifest.Script) *simLab {
	t.Helper()
	l := newSimLab(t)
	toolbox := object.OfBytes(image)
	x.Program, x.Toolbox = object.OfBytes(program), &toolbox
	l.manifest.Entries["repair"] = manifest.Entry{Title: "Repair", Script: &x}
	l.manifest.Default = []string{"repair", "installer"}
	l.carried = nil
	return l
}

// publish serves script and toolbox as well.
func (l *simLab) publishTools(t *testing.T) *site {
	t.Helper()
	s := l.publish(t, 12)
	s.put(object.OfBytes(program).Path(), program)
	s.put(object.OfBytes(image).Path(), image)
	return s
}

// carry puts objects on the medium.
func (l *lab) carry(t *testing.T, objects ...[]byte) {
	t.Helper()
	l.objects = t.TempDir()
	for _, data := range objects {
		if err := os.WriteFile(filepath.Join(l.objects, object.OfBytes(data).SHA256.String()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// environ returns what a list of variables says of a name.
func environ(env []string, name string) string {
	value := "unset"
	for _, pair := range env {
		if rest, ok := strings.CutPrefix(pair, name+"="); ok {
			value = rest // the last one counts
		}
	}
	return value
}
