package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// TestKilled is the "kill -9 between artifact and manifest" of threat 45: a
// second process is killed while it waits for the rest of an object.
func TestKilled(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	pipe := filepath.Join(p.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$", "--", p.dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// Opening returns once the child reads.
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("half of")); err != nil {
		t.Fatal(err)
	}
	// The child has what is written once the pipe is empty and the staged file
	// has grown.
	staged := filepath.Join(p.options.Dir, staging)
	for grown := false; !grown; time.Sleep(time.Millisecond) {
		for _, name := range entries(t, staged) {
			info, err := os.Stat(name)
			grown = err == nil && info.Size() > 0
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	if len(entries(t, staged)) != 1 {
		t.Error("the child left nothing half done; was it killed in time?")
	}
	p.offers(t, 1)
	p.publish(t)
	p.offers(t, 2)
	if left := entries(t, staged); left != nil {
		t.Errorf("the next publication left %v", left)
	}
}

// entries returns what lies in a folder, which need not exist.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names
}

// TestKilledChild is the process that TestKilled kills.
func TestKilledChild(t *testing.T) {
	args := os.Args
	if args[len(args)-2] != "--" {
		return
	}
	dir := args[len(args)-1]
	set, err := keys.Load(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	kernel := object.OfBytes([]byte("half of a kernel"))
	_, err = Publish(t.Context(), PublishOptions{
		Dir: filepath.Join(dir, "site"), Keys: set, Sign: set.Signer(filepath.Join(dir, "secret"), nil, now),
		Arch: "amd64", Channel: "stable", Valid: time.Hour, Now: now,
		Entries: map[string]manifest.Entry{"x": {Title: "x", Linux: &manifest.Linux{Kernel: kernel}}}, Default: []string{"x"},
		Objects: map[object.Ref]string{kernel: filepath.Join(dir, "pipe")},
	})
	t.Fatal(fmt.Errorf("the child went on: %w", err))
}

// TestKilledAnywhere: a process that publishes one version of a fleet after the
// other is killed at any moment. What it leaves is whole, to the last document.
func TestKilledAnywhere(t *testing.T) {
	p := newProject(t)
	p.fleet(20)
	p.publish(t)
	stores, err := Stores(p.options.Keys)
	if err != nil {
		t.Fatal(err)
	}
	last := int64(1)
	for i := range 12 {
		child := exec.Command(os.Args[0], "-test.run=^TestPublisherChild$", "--", p.dir)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		patience := time.Now().Add(time.Minute)
		for first := last; last == first; time.Sleep(time.Millisecond) { // until it is at work
			if time.Now().After(patience) {
				t.Fatal("the child publishes nothing")
			}
			last = max(last, p.report(t, stores).Version)
		}
		time.Sleep(time.Duration(i*7) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		r := p.report(t, stores)
		if r.Problems != nil || r.Documents != 20 || r.Version < last {
			t.Fatalf("killed for the %d. time: version %d after %d, %d documents, %q", i+1, r.Version, last, r.Documents, r.Problems)
		}
		last = r.Version
	}
	p.options.Now = time.Now()
	if res := p.publish(t); res.Version != last+1 {
		t.Errorf("then version %d, want %d", res.Version, last+1)
	}
}

// report is what media of all stores make of the site.
func (p *project) report(t *testing.T, stores []*trust.Store) Report {
	t.Helper()
	r, err := Verify(t.Context(), VerifyOptions{Dir: p.options.Dir, Stores: stores, Time: deskTime(time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPublisherChild is the process that TestKilledAnywhere kills.
func TestPublisherChild(t *testing.T) {
	args := os.Args
	if args[len(args)-2] != "--" {
		return
	}
	dir := args[len(args)-1]
	set, err := keys.Load(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	kernel := object.OfBytes(data)
	for {
		now := time.Now()
		p := project{options: PublishOptions{
			Dir: filepath.Join(dir, "site"), Keys: set, Sign: set.Signer(filepath.Join(dir, "secret"), nil, now),
			Arch: "amd64", Channel: "stable", Valid: time.Hour, Now: now,
			Entries: map[string]manifest.Entry{"installer": {Title: "x", Linux: &manifest.Linux{Kernel: kernel}}}, Default: []string{"installer"},
			Objects: map[object.Ref]string{kernel: filepath.Join(dir, "kernel")},
		}}
		p.fleet(20)
		if _, err := Publish(t.Context(), p.options); err != nil {
			t.Fatal(err)
		}
	}
}
