package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
	"golang.org/x/sys/unix"
)

// system is a disk image of a few chunks.
var system = bytes.Repeat([]byte("a system "), 400_000)

// flashed makes the machine's list the flash of an image, "install", and then the
// installer, and gives it two disks.
func flashed(t *testing.T, x manifest.Flash) (*simLab, *site) {
	t.Helper()
	l := newSimLab(t)
	index, err := caibx.Make(bytes.NewReader(system), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	file, err := index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	x.Index = object.OfBytes(file)
	if x.Cast == nil {
		x.Image = object.OfBytes(system)
	}
	x.Disk.Serial = "disk-1"
	l.manifest.Entries["install"] = manifest.Entry{Title: "Install", Flash: &x}
	l.manifest.Default = []string{"install", "installer"}
	l.settings.Report = []string{settings.ReportSite}
	l.disks = []disks.Disk{
		{Name: "sda", Node: "/dev/sda", Serial: "disk-1", IDs: []string{"t10.ATA 1"}, Size: 1 << 30},
		{Name: "sdb", Node: "/dev/sdb", Serial: "disk-2", Size: 1 << 30},
	}
	s := l.publish(t, 12)
	s.put(x.Index.Path(), file)
	s.put(object.OfBytes(system).Path(), system)
	return l, s
}

// takes is a disk that takes the whole image.
func takes(t *testing.T) func(context.Context, flash.Job) (flash.Result, error) {
	return func(ctx context.Context, job flash.Job) (flash.Result, error) {
		r, err := job.Source.Open(ctx, 0)
		if err != nil {
			return flash.Result{}, err
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if !bytes.Equal(data, system) || job.Index.Size() != int64(len(system)) {
			t.Errorf("%d bytes for an index of %d", len(data), job.Index.Size())
		}
		job.Progress(flash.Progress{Stage: "write", Done: 900_000, Total: 3_600_000, Rate: 1_000_000})
		return flash.Result{Written: int64(len(data)), Took: 4 * time.Second}, err
	}
}

// The image goes to the disk that the manifest names, with the files that belong
// to this machine, and what comes after it follows.
func TestFlash(t *testing.T) {
	ref := object.OfBytes(second)
	l, _ := flashed(t, manifest.Flash{Grow: true, Files: []manifest.FlashFile{
		{Partition: 1, Path: "/etc/hostname", Content: "alpha\n"}, {Partition: 2, Path: "/seed", Mode: 0o600, Object: &ref},
	}})
	l.limits.Reports = 0
	l.flash = func(ctx context.Context, job flash.Job) (flash.Result, error) {
		for i, want := range []string{"alpha\n", string(second)} {
			if got, err := io.ReadAll(job.Files[i].Content); err != nil || string(got) != want {
				t.Errorf("file %d: %q, %v", i, got, err)
			}
		}
		if f := job.Files[1]; f.Partition != 2 || f.Path != "/seed" || f.Mode != 0o600 || !job.Grow || job.Again {
			t.Errorf("job %+v", job)
		}
		return takes(t)(ctx, job)
	}
	if err := l.run(t); err != nil || l.rebooted != 1 || fmt.Sprint(l.flashed) != "[/dev/sda]" {
		t.Fatalf("%v, rebooted %d times, wrote %q:\n%s", err, l.rebooted, l.flashed, strings.Join(l.lines, "\n"))
	}
	var status []string
	for _, r := range l.reports {
		status = append(status, string(r.Outcome)+" "+r.Works[0].Status)
	}
	if len(status) != 3 || status[0] != "working begins" || !strings.HasPrefix(status[1], "working ") || status[2] != "rebooting 3.6 MB written, 0 bytes kept, in 4 s" || !l.reports[2].Works[0].Flashed() {
		t.Errorf("reported %q", status)
	}
}

// How far a flash is can be read.
func TestFar(t *testing.T) {
	for want, p := range map[string]flash.Progress{
		"sda: finish":                          {Stage: "finish"},
		"sda: write, 25 % of 3.6 MB, 1.0 MB/s": {Stage: "write", Done: 900_000, Total: 3_600_000, Rate: 1_000_000},
		"sda: verify, 100 % of 3.6 MB":         {Stage: "verify", Done: 3_600_000, Total: 3_600_000},
	} {
		if got := far(disks.Disk{Name: "sda"}, p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A disk that holds the image is left alone, and the next entry boots.
func TestFlashAlready(t *testing.T) {
	l, _ := flashed(t, manifest.Flash{})
	l.flash = func(context.Context, flash.Job) (flash.Result, error) {
		return flash.Result{Already: "its mark says so"}, nil
	}
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "flash: left alone: its mark says so", "install: done")
	if last := l.reports[len(l.reports)-1]; last.Works[0].Status != "left alone: its mark says so" || last.Outcome != report.HandingOver {
		t.Errorf("reported %+v", last)
	}
}

// What cannot be flashed has a code of its own, and the next entry boots.
func TestFlashFails(t *testing.T) {
	for want, c := range map[string]struct {
		set func(*simLab, *site)
		err error
	}{
		"install: [no-disk] ":        {set: func(l *simLab, _ *site) { l.disks = l.disks[1:] }},
		"install: [which-disk] ":     {set: func(l *simLab, _ *site) { l.disks[1].Serial = "disk-1" }},
		"install: [disk-in-use] ":    {set: func(l *simLab, _ *site) { l.disks[0].InUse = "mounted on /x" }},
		"install: [disk-too-small] ": {set: func(l *simLab, _ *site) { l.disks[0].Size = 1000 }},
		"install: [corrupt] index: ": {set: func(l *simLab, s *site) {
			s.put(l.manifest.Entries["install"].Flash.Index.Path(), flip(s.files[l.manifest.Entries["install"].Flash.Index.Path()]))
		}},
		"install: [no-memory] ":  {set: func(l *simLab, _ *site) { l.available = spareMemory }},
		"install: [fake-disk] ":  {err: fmt.Errorf("%w: %w", flash.ErrReadBack, flash.ErrFake)},
		"install: [disk-error] ": {err: fmt.Errorf("sda: write: %w", unix.EIO)},
		"install: [disk-full] ":  {err: fmt.Errorf("sda: write: %w", unix.ENOSPC)},
	} {
		t.Run(want, func(t *testing.T) {
			l, s := flashed(t, manifest.Flash{})
			l.flash = func(context.Context, flash.Job) (flash.Result, error) {
				if c.err == nil {
					t.Error("a disk was written")
				}
				return flash.Result{}, c.err
			}
			if c.set != nil {
				c.set(l, s)
			}
			_ = l.run(t) // without memory nothing boots
			saw(t, l.lab, want)
			if len(l.said("choose: ")) > 0 && l.available < 0 && l.executed != 1 {
				t.Error("the next entry did not boot")
			}
		})
	}
}

// A script can flash what the manifest names, and to another disk if it says so.
func TestFlashByScript(t *testing.T) {
	l, _ := flashed(t, manifest.Flash{})
	toolbox := object.OfBytes(image)
	l.manifest.Entries["repair"] = manifest.Entry{Title: "Repair", Script: &manifest.Script{Program: object.OfBytes(program), Toolbox: &toolbox}}
	l.manifest.Default = []string{"repair", "installer"}
	s := l.publishTools(t)
	x := l.manifest.Entries["install"].Flash
	index, err := caibx.Make(bytes.NewReader(system), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	file, err := index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.put(x.Index.Path(), file)
	s.put(x.Image.Path(), system)
	l.sites = l.sites[1:]
	l.flash = takes(t)
	l.works.run = func(_ script.Config, h control.Handlers) (int, *control.Next) {
		var told []string
		progress := func(text string) { told = append(told, text) }
		for _, disk := range []string{"", "disk-2"} {
			if err := h.Flash(t.Context(), "install", disk, progress); err != nil {
				t.Error(err)
			}
		}
		if len(told) != 4 || !strings.HasPrefix(told[1], "3.6 MB written") {
			t.Errorf("told %q", told)
		}
		if err := h.Flash(t.Context(), "install", "disk-3", progress); !errors.Is(err, disks.ErrNone) {
			t.Errorf("a disk that is not there: %v", err)
		}
		for _, name := range []string{"installer", "other"} {
			if err := h.Flash(t.Context(), name, "", progress); !errors.Is(err, manifest.ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if all, err := h.Disks(); err != nil || len(all) != 2 || all[0].ID != "t10.ATA 1" || all[1].Serial != "disk-2" {
			t.Errorf("disks %+v, %v", all, err)
		}
		return 0, nil
	}
	handedOver(t, l.lab, l.run(t))
	if fmt.Sprint(l.flashed) != "[/dev/sda /dev/sdb]" {
		t.Errorf("wrote %q", l.flashed)
	}
}

// What is the machine's own comes from its record. One that has no value for it
// is not written.
func TestFlashExpands(t *testing.T) {
	for name, env := range map[string]manifest.Env{"room-4-01\n": {"HOSTNAME": "room-4-01"}, "": nil} {
		l, s := flashed(t, manifest.Flash{Files: []manifest.FlashFile{
			{Partition: 1, Path: "/etc/hostname", Content: "{HOSTNAME}\n", Expand: true},
		}})
		l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "ABC"}, Boot: []string{"install", "installer"}, Env: env}}
		again := l.publish(t, 13)
		for _, ref := range l.manifest.Entries["install"].Refs() {
			again.put(ref.Path(), s.files[ref.Path()])
		}
		l.flash = func(ctx context.Context, job flash.Job) (flash.Result, error) {
			if got, err := io.ReadAll(job.Files[0].Content); err != nil || string(got) != name {
				t.Errorf("%q, %v", got, err)
			}
			return takes(t)(ctx, job)
		}
		err := l.run(t)
		if name == "" {
			handedOver(t, l.lab, err)
			saw(t, l.lab, `install: [malformed] malformed manifest: file "/etc/hostname": nothing says what {HOSTNAME} is on this machine`)
		}
		if want := len(env); len(l.flashed) != want {
			t.Errorf("%v: wrote %q", env, l.flashed)
		}
	}
}
