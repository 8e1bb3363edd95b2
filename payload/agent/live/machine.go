package live

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

const (
	// store is where kernels, initrds and disks of machines are in the toolbox,
	// and configs where what xl reads is.
	store   = "var/lib/farboot"
	configs = "etc/xen/farboot"
	// media is where disks with machines are mounted in the toolbox.
	media = "media"
	// maxConfigs is how many machines one disk may bring.
	maxConfigs = 64
)

// plug is what libxl runs when a machine's card comes or goes, with the card's name
// and its folder in xenstore (docs/misc/vif-script in Xen's source). Xen's own
// vif-bridge starts some forty programs for the same, which under emulation take
// longer than the 40 s that libxl waits (LIBXL_HOTPLUG_TIMEOUT).
const (
	plug       = "/" + configs + "/vif"
	plugScript = `#!/bin/sh
# Written by farboot.
set -e
[ "$1" = online ] || exit 0
ip link set dev "$vif" master "$(xenstore-read "$XENBUS_PATH/bridge")"
ip link set dev "$vif" up
xenstore-write "$XENBUS_PATH/hotplug-status" connected
`
)

// startMachines starts the entry's machines, then those on the machine's disks.
// One that does not start is told, and the next one is.
func (s *System) startMachines(ctx context.Context) error {
	for _, g := range s.Entry.Machines {
		config, err := s.configure(ctx, g)
		if err == nil {
			err = s.create(ctx, g.Name, config)
		}
		if err != nil && ctx.Err() == nil {
			s.Fail(fmt.Errorf("%w: %s: %w", ErrMachine, g.Name, err))
			s.clear(ctx, g.Name)
		}
	}
	if !s.Entry.Storage || ctx.Err() != nil {
		return nil
	}
	found, err := s.Folders(ctx, filepath.Join(s.Root, media), manifest.StorageFolder)
	if err != nil {
		return fmt.Errorf("live: %s on disks: %w", manifest.StorageFolder, err)
	}
	s.found = found
	s.Log("live: %d file systems have a folder %s", len(found), manifest.StorageFolder)
	for _, f := range found {
		s.startFound(ctx, f.Partition, path.Join("/", media, f.Partition, manifest.StorageFolder))
	}
	return nil
}

// startFound starts what lies in a folder of a disk.
func (s *System) startFound(ctx context.Context, partition, dir string) {
	names, err := filepath.Glob(filepath.Join(s.Root, dir, "*.cfg"))
	if err != nil {
		s.Fail(fmt.Errorf("%w: %s: %w", ErrMachine, partition, err))
		return
	}
	for _, name := range names[:min(len(names), maxConfigs)] {
		base := filepath.Base(name)
		if err := s.create(ctx, script.Clean(base)+" on "+partition, path.Join(dir, base)); err != nil && ctx.Err() == nil {
			s.Fail(fmt.Errorf("%w: %w", ErrMachine, err))
		}
	}
}

// create has xl start a machine.
func (s *System) create(ctx context.Context, name, config string) error {
	s.Log("live: machine %s starts", name)
	// Paths in it are relative to where it lies.
	return s.do(ctx, building, nil, "xl create "+name, "/bin/sh", "-c", `cd "${2%/*}" && exec "$1" create "$2"`, "sh", s.xen+"/xl", config)
}

// clear destroys what is there of a machine that was not made to its end: xl does it
// itself, unless it was ended.
func (s *System) clear(ctx context.Context, name string) {
	names, err := s.machines(ctx)
	if err == nil && slices.Contains(names, name) {
		err = s.do(ctx, command, nil, "xl destroy", s.xen+"/xl", "destroy", name)
	}
	if err != nil {
		s.Log("live: %s: %v", name, err)
	}
}

// configure writes what xl reads for a machine, see xl.cfg(5), and what that names.
func (s *System) configure(ctx context.Context, g manifest.Guest) (config string, err error) {
	kernel, err := s.obtain(ctx, g.Name+"'s kernel", g.Kernel)
	if err != nil {
		return "", err
	}
	lines := []string{
		"name = " + quote(g.Name), "type = " + quote(cmp.Or(g.Type, "pv")), "kernel = " + quote(kernel), "extra = " + quote(g.Cmdline),
		fmt.Sprintf("memory = %d", g.Memory), fmt.Sprintf("vcpus = %d", max(g.VCPUs, 1)),
	}
	if len(g.Initrd) > 0 {
		ramdisk, err := s.obtain(ctx, g.Name+"'s initrd", g.Initrd...)
		if err != nil {
			return "", err
		}
		lines = append(lines, "ramdisk = "+quote(ramdisk))
	}
	if s.Entry.Bridge != "" {
		if err := s.write(plug, plugScript, 0o700); err != nil {
			return "", err
		}
		vif := "script=" + plug + ",bridge=" + s.Entry.Bridge
		if g.MAC != "" {
			vif = "mac=" + g.MAC + "," + vif
		}
		lines = append(lines, "vif = ["+quote(vif)+"]")
	}
	if g.Disk != nil {
		device, err := s.disk(ctx, g.Name, *g.Disk)
		if err != nil {
			return "", err
		}
		lines = append(lines, "disk = ["+quote("phy:"+device+",xvda,w")+"]")
	}
	config = "/" + path.Join(configs, g.Name+".cfg")
	return config, s.write(config, strings.Join(lines, "\n")+"\n", 0o600)
}

// write writes a file of the toolbox.
func (s *System) write(name, text string, mode os.FileMode) error {
	name = filepath.Join(s.Root, name)
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode))
}

// quote writes a string as xl's parser takes it: what may end one, or begin an
// escape, is written as its number (xlu__cfgl_dequote in libxlu_cfg.c).
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`"'\`, c) >= 0 {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// obtain returns a file in the toolbox with these objects, one behind the other.
// Machines that have the same share it.
func (s *System) obtain(ctx context.Context, what string, refs ...object.Ref) (string, error) {
	key := fmt.Sprint(refs)
	if name, ok := s.objects[key]; ok {
		return name, nil
	}
	name := fmt.Sprintf("/%s/%d", store, len(s.objects)+1)
	if err := s.fill(ctx, what, name, refs...); err != nil {
		return "", err
	}
	s.objects[key] = name
	return name, nil
}

// fill writes objects into a new file of the toolbox. With an error there is none.
func (s *System) fill(ctx context.Context, what, name string, refs ...object.Ref) error {
	at := filepath.Join(s.Root, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	offset := int64(0)
	for _, ref := range refs {
		if err == nil {
			err = s.Fetch(ctx, what, ref, io.NewOffsetWriter(f, offset))
		}
		offset += ref.Size
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(at))
	}
	return nil
}

// disk makes a block device of a machine's image, which is its own.
func (s *System) disk(ctx context.Context, machine string, ref object.Ref) (string, error) {
	name := fmt.Sprintf("/%s/%s.disk", store, machine)
	if err := s.fill(ctx, machine+"'s disk", name, ref); err != nil {
		return "", err
	}
	s.Need("loop")
	var out bytes.Buffer
	if err := s.do(ctx, command, &out, "losetup", "/usr/bin/busybox", "losetup", "-f"); err != nil {
		return "", fmt.Errorf("%w: %.200s", err, script.Clean(out.String()))
	}
	device := strings.TrimSpace(out.String())
	if err := s.do(ctx, command, nil, "losetup", "/usr/bin/busybox", "losetup", device, name); err != nil {
		return "", err
	}
	s.loops = append(s.loops, device)
	return device, nil
}

// stopMachines shuts all machines down, destroys what is left, and lets the disks go.
func (s *System) stopMachines() error {
	err := s.endMachines()
	for _, device := range s.loops {
		err = errors.Join(err, s.do(context.Background(), command, nil, "losetup -d", "/usr/bin/busybox", "losetup", "-d", device))
	}
	for _, f := range s.found {
		err = errors.Join(err, f.Close())
	}
	return err
}

// endMachines ends all machines.
func (s *System) endMachines() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdown+clearing+2*command)
	defer cancel()
	names, err := s.machines(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	s.Log("live: shutting down %s", strings.Join(names, ", "))
	patience := clearing
	if err := s.do(ctx, shutdown, nil, "xl shutdown", s.xen+"/xl", "shutdown", "--all", "--wait"); err != nil {
		s.Log("live: %v", err)
		patience = 0
	}
	if names, err = s.left(ctx, patience); err != nil {
		return err
	}
	for _, name := range names {
		s.Log("live: machine %s does not shut down, and is destroyed", name)
		err = errors.Join(err, s.do(ctx, command, nil, "xl destroy", s.xen+"/xl", "destroy", name))
	}
	return err
}

// left waits until no machine is there any more, for as long as patience goes, and
// lists those that are: what has shut down is cleared away by the xl that started it.
func (s *System) left(ctx context.Context, patience time.Duration) ([]string, error) {
	for until := time.Now().Add(patience); ; time.Sleep(look) {
		names, err := s.machines(ctx)
		if err != nil || len(names) == 0 || time.Now().After(until) {
			return names, err
		}
	}
}

// machines lists the names of the machines that are there. The first column of "xl
// list" is the name, below a line of titles; one that is just going has lost it.
func (s *System) machines(ctx context.Context) ([]string, error) {
	var out bytes.Buffer
	if err := s.do(ctx, command, &out, "xl list", s.xen+"/xl", "list"); err != nil {
		return nil, fmt.Errorf("%w: %.200s", err, script.Clean(out.String()))
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		if fields := strings.Fields(line); len(fields) > 1 && !slices.Contains([]string{"Name", "Domain-0", "(null)"}, fields[0]) {
			names = append(names, script.Clean(fields[0]))
		}
	}
	slices.Sort(names)
	return names, nil
}
