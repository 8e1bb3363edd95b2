package recipe

import (
	"fmt"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// Manifest returns the entry as a manifest has it. It asks ref for the size and
// hash of the kernel and of each initrd, in this order.
func (e Entry) Manifest(ref func(Input) (object.Ref, error)) (manifest.Entry, error) {
	out := manifest.Entry{Title: e.Title, Local: (*manifest.Local)(e.Local), Power: (*manifest.Power)(e.Power)}
	if e.Linux == nil {
		return out, nil
	}
	l := &manifest.Linux{Cmdline: e.Linux.Cmdline, Network: e.Linux.Network, Watchdog: e.Linux.Watchdog}
	for i, in := range e.inputs() {
		r, err := ref(in)
		switch {
		case err != nil:
			return manifest.Entry{}, err
		case i == 0:
			l.Kernel = r
		default:
			l.Initrd = append(l.Initrd, r)
		}
	}
	out.Linux = l
	return out, nil
}

// inputs lists the entry's kernel and initrds, if it is of that kind.
func (e Entry) inputs() []Input {
	if e.Linux == nil {
		return nil
	}
	return e.Linux.inputs()
}

// inputs lists kernel and initrds; nil has none.
func (e *LinuxEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	return append([]Input{e.Kernel}, e.Initrd...)
}

// entry validates what an agent can start.
func (v *validator) entry(at string, e Entry) {
	v.try(at+".title", manifest.CheckTitle(e.Title))
	kinds := 0
	if e.Linux != nil {
		kinds++
		v.linux(at+".linux", &e.Linux.LinuxEntry)
		v.atMost(at+".linux.initrd", len(e.Linux.Initrd), manifest.DefaultBounds().Initrds)
		v.hinted(at+".linux.watchdog", "it counts until the next system takes it over; Debian needs about 60 s", manifest.CheckWatchdog(e.Linux.Watchdog))
	}
	if e.Local != nil {
		kinds++
		v.hinted(at+".local", "{} tries every disk", manifest.CheckLocal(manifest.Local(*e.Local)))
	}
	if e.Power != nil {
		kinds++
		v.hinted(at+".power.action", didYouMean(e.Power.Action, []string{manifest.Reboot, manifest.Off}), manifest.CheckPower(manifest.Power(*e.Power)))
	}
	if kinds != 1 {
		v.fail(at, `"linux:" starts a kernel, "local: {}" what is installed, "power:" restarts`, "want exactly one of linux, local and power")
	}
}

// linux validates a kernel with its initrds.
func (v *validator) linux(at string, e *LinuxEntry) {
	v.artifact(at+".kernel", e.Kernel)
	for i, in := range e.Initrd {
		v.artifact(fmt.Sprintf("%s.initrd[%d]", at, i), in)
	}
	v.try(at+".cmdline", manifest.CheckCmdline(e.Cmdline))
}
