package recipe

import (
	"fmt"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// LiveEntry makes of a toolbox a system that stays: with services, with people who
// log in, and where it is Xen's domain 0, with machines of its own.
type LiveEntry struct {
	// Toolbox names one of the site's toolboxes. Default is the medium's.
	Toolbox string `yaml:"toolbox" json:"toolbox,omitzero"`
	// Hostname is the system's name. Default "farboot".
	Hostname string `yaml:"hostname" json:"hostname,omitzero"`
	// Timezone is one of the toolbox's (package tzdata): "Europe/Vienna". Default
	// UTC.
	Timezone string `yaml:"timezone" json:"timezone,omitzero"`
	// Bridge is the name of a bridge over the card that has the network; the
	// machines are on it. Default none, and machines without a network.
	Bridge string `yaml:"bridge" json:"bridge,omitzero"`
	// Password is the hash of the one that opens the consoles, as mkpasswd prints
	// it. Default none: nobody gets in there.
	Password string `yaml:"password" json:"password,omitzero"`
	// SSH lets people in over the network. Default nobody.
	SSH *LiveSSH `yaml:"ssh" json:"ssh,omitzero"`
	// Services run as long as the system, started in this order.
	Services []Service `yaml:"services" json:"services,omitzero"`
	// Machines are started in this order, by Xen.
	Machines []Guest `yaml:"machines" json:"machines,omitzero"`
	// Storage starts as well what lies in folders "farboot-machines" on the
	// machine's disks, which nobody signs. Default false.
	Storage bool `yaml:"storage" json:"storage,omitzero"`
	// Words are those of the kernel's command line that count, of hostname,
	// network, password, ssh and timezone: "farboot.live.hostname=xen1". Default
	// none.
	Words []string `yaml:"words" json:"words,omitzero"`
}

// LiveSSH says who may log in to a live system.
type LiveSSH struct {
	// Keys are lines of the .pub files of those who may log in. Each may do
	// everything.
	Keys []string `yaml:"keys" json:"keys,omitzero"`
	// KeyFiles are files with such lines, like authorized_keys.
	KeyFiles []Input `yaml:"key_files" json:"key_files,omitzero"`
	// Port is the TCP port. Default 22.
	Port int `yaml:"port" json:"port,omitzero"`
}

// Service is a program of a live system.
type Service struct {
	Name string `yaml:"name" json:"name"`
	// Program is its path in the toolbox. It has to stay in the foreground.
	Program string `yaml:"program" json:"program"`
	// Args are given to it as they are.
	Args []string `yaml:"args" json:"args,omitzero"`
	// Restart starts it again whenever it ends. Default false.
	Restart bool `yaml:"restart" json:"restart,omitzero"`
}

// Guest is a machine of a live system, a domU.
type Guest struct {
	Name string `yaml:"name" json:"name"`
	// Type is "pv" (the default) or "pvh", which takes a processor that can
	// virtualise.
	Type string `yaml:"type" json:"type,omitzero"`
	// Kernel is its kernel. Default is the medium's own.
	Kernel Input `yaml:"kernel" json:"kernel,omitzero"`
	// Modules, of the medium's own kernel, are put into one more initrd.
	Modules []string `yaml:"modules" json:"modules,omitzero"`
	// Initrd lists initrds, which become one.
	Initrd []Input `yaml:"initrd" json:"initrd,omitzero"`
	// Files are put into one more initrd, after the others, by their paths in it.
	Files map[string]ModeFile `yaml:"files" json:"files,omitzero"`
	// Disk is an image that becomes xvda. What is written to it is in memory.
	Disk    *Input `yaml:"disk" json:"disk,omitzero"`
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
	// Memory is in whole MiB: "64MiB".
	Memory Size `yaml:"memory" json:"memory"`
	// VCPUs is how many processors it has. Default 1.
	VCPUs int `yaml:"vcpus" json:"vcpus,omitzero"`
	// MAC is that of its card. Default is one that Xen makes up at each start.
	MAC string `yaml:"mac" json:"mac,omitzero"`
}

// hasKernel tells whether the recipe names the machine's kernel.
func (g Guest) hasKernel() bool { return g.Kernel != (Input{Line: g.Kernel.Line}) }

// inputs lists what the entry's bytes come from; nil has none.
func (e *LiveEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	var in []Input
	if e.SSH != nil {
		in = append(in, e.SSH.KeyFiles...)
	}
	for _, g := range e.Machines {
		if g.hasKernel() {
			in = append(in, g.Kernel)
		}
		in = append(in, g.Initrd...)
		in = append(in, fileInputs(g.Files, func(f ModeFile) Content { return f.Content })...)
		if g.Disk != nil {
			in = append(in, *g.Disk)
		}
	}
	return in
}

// live validates a live system.
func (v *validator) live(at string, e *LiveEntry, s scope) {
	v.try(at+".hostname", manifest.CheckHostname(e.Hostname))
	v.try(at+".timezone", manifest.CheckTimezone(e.Timezone))
	v.try(at+".bridge", manifest.CheckBridge(e.Bridge))
	v.hinted(at+".password", `what "mkpasswd -m yescrypt" prints, in quotes`, manifest.CheckPassword(e.Password))
	v.try(at+".words", manifest.CheckWords(e.Words))
	if e.SSH != nil {
		v.liveSSH(at+".ssh", e.SSH)
	}
	b := manifest.DefaultBounds()
	v.atMost(at+".services", len(e.Services), b.Services)
	names := map[string]bool{}
	for i, x := range e.Services {
		at := fmt.Sprintf("%s.services[%d]", at, i)
		v.hinted(at, `for example {name: web, program: /usr/sbin/nginx, args: ["-g", "daemon off;"], restart: true}`, manifest.CheckService(manifest.Service(x)))
		v.once(at, x.Name, names)
	}
	v.atMost(at+".machines", len(e.Machines), b.Guests)
	clear(names)
	for i, g := range e.Machines {
		at := fmt.Sprintf("%s.machines[%d]", at, i)
		v.guest(at, g, s)
		v.once(at, g.Name, names)
	}
	v.toolbox(at, e.Toolbox, s)
}

// once validates that a name of a list is new there.
func (v *validator) once(at, name string, seen map[string]bool) {
	if seen[name] {
		v.fail(at, "", "%q stands twice", name)
	}
	seen[name] = true
}

// liveSSH validates who may log in.
func (v *validator) liveSSH(at string, e *LiveSSH) {
	for i, line := range e.Keys {
		_, err := authkey.Parse(line)
		v.hinted(fmt.Sprintf("%s.keys[%d]", at, i), `a line of ~/.ssh/id_ed25519.pub, in quotes; files go under "key_files:"`, err)
	}
	for i, in := range e.KeyFiles {
		v.artifact(fmt.Sprintf("%s.key_files[%d]", at, i), in)
	}
	if len(e.Keys) == 0 && len(e.KeyFiles) == 0 {
		v.fail(at, `add "keys: [...]" with lines of their .pub files, or leave ssh out`, "nobody could log in")
	}
	v.atMost(at+".keys", len(e.Keys), manifest.DefaultBounds().Keys)
	if e.Port < 0 || e.Port > 65535 {
		v.fail(at+".port", "", "%d is not between 1 and 65535", e.Port)
	}
}

// guest validates a machine.
func (v *validator) guest(at string, g Guest, s scope) {
	if g.hasKernel() {
		v.artifact(at+".kernel", g.Kernel)
	}
	switch {
	case !g.hasKernel() && !s.medium:
		v.fail(at, `for example kernel: {deb: ..., file: boot/vmlinuz-...}`, "only machines of a medium can have its own kernel")
	case g.hasKernel() && len(g.Modules) > 0:
		v.fail(at+".modules", "modules of another kernel belong into one of its initrds", "these are for machines with the medium's own kernel")
	case g.Memory%(1<<20) != 0:
		v.fail(at+".memory", `for example "64MiB"`, "%d bytes are no whole MiB", g.Memory)
	}
	v.each(at+".modules", g.Modules, moduleName, "want a module's name")
	for i, in := range g.Initrd {
		v.artifact(fmt.Sprintf("%s.initrd[%d]", at, i), in)
	}
	v.atMost(at+".initrd", len(g.Initrd), manifest.DefaultBounds().Initrds-2) // beside those that are made here
	v.files(at+".files", g.Files)
	if g.Disk != nil {
		v.artifact(at+".disk", *g.Disk)
	}
	v.try(at, manifest.CheckGuest(g.manifest()))
}

// manifest returns the machine without its objects.
func (g Guest) manifest() manifest.Guest {
	return manifest.Guest{Name: g.Name, Type: g.Type, Cmdline: g.Cmdline, Memory: int(g.Memory >> 20), VCPUs: g.VCPUs, MAC: g.MAC}
}

func (e *LiveEntry) manifest(m Maker) (*manifest.Live, error) {
	toolbox, err := named(m, e.Toolbox)
	if err != nil {
		return nil, err
	}
	out := &manifest.Live{
		Toolbox: toolbox, Hostname: e.Hostname, Timezone: e.Timezone, Bridge: e.Bridge, Password: e.Password,
		Storage: e.Storage, Words: e.Words,
	}
	if e.SSH != nil {
		keys, err := ReadKeys(m, e.SSH.Keys, e.SSH.KeyFiles)
		if err != nil {
			return nil, err
		}
		out.SSH = &manifest.LiveSSH{Keys: keys, Port: e.SSH.Port}
	}
	for _, x := range e.Services {
		out.Services = append(out.Services, manifest.Service(x))
	}
	for _, g := range e.Machines {
		guest, err := g.made(m)
		if err != nil {
			return nil, err
		}
		out.Machines = append(out.Machines, guest)
	}
	return out, nil
}

// made returns the machine with its objects.
func (g Guest) made(m Maker) (manifest.Guest, error) {
	out := g.manifest()
	var err error
	add := func(ref object.Ref, failed error) {
		if err == nil {
			err = failed
			out.Initrd = append(out.Initrd, ref)
		}
	}
	if g.hasKernel() {
		out.Kernel, err = m.Object(Content{Input: g.Kernel})
	} else {
		out.Kernel, err = m.Kernel()
	}
	for _, in := range g.Initrd {
		add(m.Object(Content{Input: in}))
	}
	if len(g.Modules) > 0 {
		add(m.Modules(g.Modules))
	}
	if len(g.Files) > 0 {
		add(m.Layer(g.Files))
	}
	if g.Disk != nil && err == nil {
		var ref object.Ref
		ref, err = m.Object(Content{Input: *g.Disk})
		out.Disk = &ref
	}
	return out, err
}
