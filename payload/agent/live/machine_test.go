package live

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/agent/toolbox/toolboxtest"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// xl stands for Xen's: machines are files. One called "stubborn" does not shut down,
// and one called "broken" does not start to its end. One that has shut down is still
// listed for two times, first with its name and then without.
const xl = `#!/bin/sh
case $1 in
create)
	echo "creates $2 in $PWD"
	name=${2##*/}
	echo >"/run/${name%.cfg}"
	[ "$2" != /etc/xen/farboot/broken.cfg ] || exit 1 ;;
list)
	echo "Name   ID   Mem VCPUs"
	echo "Domain-0    0   400     1"
	cd /run && for m in *; do [ ! -f "$m" ] || echo "$m   1    96     1"; done
	[ ! -f "(null)" ] || mv "(null)" /tmp/
	[ ! -f late ] || mv late "(null)" ;;
shutdown)
	for m in /run/*; do [ "$m" = /run/stubborn ] || mv "$m" /tmp/; done
	[ -f /run/stubborn ] || echo >/run/late
	[ ! -f /run/stubborn ] ;;
destroy)
	echo "destroys $2"
	mv "/run/$2" /tmp/ ;;
esac
`

// TestMachines: machines of the entry and of disks are started in their order, one
// that fails hides no other and leaves nothing, and in the end none runs.
func TestMachines(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	l.Root = toolboxtest.Tree(t)
	l.Processes = toolbox.NewProcesses(l.Root)
	found := filepath.Join(media, "sda2", manifest.StorageFolder)
	for name, text := range map[string]string{"xen/xl": xl, found + "/stubborn.cfg": "", found + "/notes.txt": ""} {
		name = filepath.Join(l.Root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("busybox", filepath.Join(l.Root, "bin/mv")); err != nil {
		t.Fatal(err)
	}
	ref := object.Ref{Size: 3}
	l.Entry = manifest.Live{Storage: true, Machines: []manifest.Guest{
		{Name: "corrupt", Kernel: object.Ref{Size: 666}, Memory: 64}, {Name: "broken", Kernel: ref, Memory: 64}, {Name: "web1", Kernel: ref, Memory: 64},
	}}
	l.Folders = func(_ context.Context, dir, name string) ([]local.Folder, error) {
		if dir != filepath.Join(l.Root, media) || name != manifest.StorageFolder {
			t.Errorf("looks for %s below %s", name, dir)
		}
		return []local.Folder{{Partition: "sda2", Close: func() error { l.log("sda2 is unmounted"); return nil }}}, nil
	}
	s := &System{Config: l.Config, objects: map[string]string{}, xen: "/xen"}
	if err := s.startMachines(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FAIL the machine does not start: corrupt: corrupt\n", "FAIL the machine does not start: broken: xl create broken: exit status 1\n",
		"destroys broken", "creates /etc/xen/farboot/web1.cfg in /etc/xen/farboot", "live: machine stubborn.cfg on sda2 starts",
		"creates /media/sda2/farboot-machines/stubborn.cfg in /media/sda2/farboot-machines",
	} {
		if !strings.Contains(l.said()+"\n", want) {
			t.Errorf("%q is not said", want)
		}
	}
	if strings.Contains(l.said(), "notes.txt") {
		t.Error("what is no configuration was started")
	}
	if err := s.stopMachines(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"shutting down stubborn, web1", "machine stubborn does not shut down", "destroys stubborn\n", "sda2 is unmounted"} {
		if !strings.Contains(l.said()+"\n", want) {
			t.Errorf("%q is not said", want)
		}
	}
	if err := s.create(t.Context(), "web1", "/etc/xen/farboot/web1.cfg"); err != nil {
		t.Error(err)
	}
	if err := s.stopMachines(); err != nil || strings.Contains(l.said(), "late") || strings.Contains(l.said(), "null") {
		t.Errorf("what has shut down does not go by itself: %v", err)
	}
	if names, err := s.machines(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("left: %q, %v", names, err)
	}
	if t.Failed() {
		t.Log(l.said())
	}
}
