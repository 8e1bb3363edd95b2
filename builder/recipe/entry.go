package recipe

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/manifest"
)

// scope is where an entry stands.
type scope struct {
	// medium tells that it is for the time without a site.
	medium bool
	// toolbox tells that the medium has a toolbox, where medium is set.
	toolbox   bool
	toolboxes map[string]Toolbox // of the site
	images    map[string]SiteImage
}

// envHint shows how variables are written.
const envHint = `for example {DISK: sda, ROLE: web}`

// inputs lists what the entry's bytes come from, in a fixed order.
func (e Entry) inputs() []Input {
	var in []Input
	if e.Linux != nil {
		in = append(in, e.Linux.inputs()...)
		in = append(in, fileInputs(e.Linux.Files, func(f ModeFile) Content { return f.Content })...)
	}
	if e.Script != nil {
		in = append(in, e.Script.Program.inputs()...)
	}
	if e.Rescue != nil {
		in = append(in, e.Rescue.KeyFiles...)
	}
	if e.Flash != nil {
		in = append(in, e.Flash.Image)
		for _, f := range e.Flash.Files {
			in = append(in, f.inputs()...)
		}
	}
	if e.Xen != nil {
		in = append(in, e.Xen.inputs()...)
	}
	in = append(in, e.Live.inputs()...)
	return slices.Concat(in, e.Iso.inputs(), e.Image.inputs())
}

// inputs lists what the toolbox's own files come from.
func (t Toolbox) inputs() []Input {
	return fileInputs(t.Files, func(f ModeFile) Content { return f.Content })
}

// fileInputs lists the inputs of files, in the order of their names.
func fileInputs[T any](files map[string]T, content func(T) Content) []Input {
	var in []Input
	for _, name := range slices.Sorted(maps.Keys(files)) {
		in = append(in, content(files[name]).inputs()...)
	}
	return in
}

// inputs lists the input, unless the content stands in the recipe.
func (c Content) inputs() []Input {
	if c.written() {
		return nil
	}
	return []Input{c.Input}
}

// written tells whether the content stands in the recipe.
func (c Content) written() bool { return c.Text != "" }

// inputs lists kernel and initrds; nil has none.
func (e *LinuxEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	return append([]Input{e.Kernel}, e.Initrd...)
}

// entry validates what an agent can start.
func (v *validator) entry(at string, e Entry, s scope) {
	v.try(at+".title", manifest.CheckTitle(e.Title))
	kinds := 0
	if e.Linux != nil {
		kinds++
		v.kexec(at+".linux", e.Linux)
	}
	if e.Local != nil {
		kinds++
		v.hinted(at+".local", "{} tries every disk", manifest.CheckLocal(manifest.Local(*e.Local)))
	}
	if e.Power != nil {
		kinds++
		v.hinted(at+".power.action", didYouMean(e.Power.Action, []string{manifest.Reboot, manifest.Off}), manifest.CheckPower(manifest.Power(*e.Power)))
	}
	if e.Script != nil {
		kinds++
		v.script(at+".script", e.Script, s)
	}
	if e.Rescue != nil {
		kinds++
		v.rescue(at+".rescue", e.Rescue, s)
	}
	if e.Flash != nil {
		kinds++
		v.flash(at+".flash", e.Flash, s)
	}
	if e.Xen != nil {
		kinds++
		v.xenKexec(at+".xen", e.Xen)
	}
	if e.Live != nil {
		kinds++
		v.live(at+".live", e.Live, s)
	}
	if e.Iso != nil {
		kinds++
		v.iso(at+".iso", e.Iso, s)
	}
	if e.Image != nil {
		kinds++
		v.image(at+".image", e.Image, s)
	}
	if kinds != 1 {
		v.fail(at, `"linux:" starts a kernel, "local: {}" what is installed, "power:" restarts, "script:" runs a program, "rescue:" lets people in, "flash:" writes a disk, "xen:" starts a hypervisor, "live:" makes a system that stays, "iso:" and "image:" start one that stays on the web`,
			"want exactly one of linux, local, power, script, rescue, flash, xen, live, iso and image")
	}
}

// kexec validates a kernel that the agent starts.
func (v *validator) kexec(at string, e *KexecEntry) {
	v.linux(at, &e.LinuxEntry)
	most := manifest.DefaultBounds().Initrds
	if len(e.Files) > 0 {
		most-- // they become one
	}
	v.atMost(at+".initrd", len(e.Initrd), most)
	v.files(at+".files", e.Files)
	v.hinted(at+".watchdog", "it counts until the next system takes it over; Debian needs about 60 s", manifest.CheckWatchdog(e.Watchdog))
}

// linux validates a kernel with its initrds.
func (v *validator) linux(at string, e *LinuxEntry) {
	v.artifact(at+".kernel", e.Kernel)
	for i, in := range e.Initrd {
		v.artifact(fmt.Sprintf("%s.initrd[%d]", at, i), in)
	}
	v.try(at+".cmdline", manifest.CheckCmdline(e.Cmdline))
}

// script validates a program.
func (v *validator) script(at string, e *ScriptEntry, s scope) {
	v.content(at+".program", e.Program)
	if e.Program.written() && !strings.HasPrefix(string(e.Program.Text), "#!") {
		v.fail(at+".program", `start with "#!/bin/sh"`, "nothing says what is to run the text")
	}
	v.hinted(at+".args", `write each as one item: ["--yes", "two words"]`, manifest.CheckArgs(e.Args))
	v.hinted(at+".env", envHint, manifest.CheckEnv(e.Env))
	v.seconds(at+".seconds", e.Seconds, 1)
	v.then(at, e.Then)
	v.toolbox(at, e.Toolbox, s)
}

// rescue validates who may log in.
func (v *validator) rescue(at string, e *RescueEntry, s scope) {
	for i, line := range e.Keys {
		_, err := authkey.Parse(line)
		v.hinted(fmt.Sprintf("%s.keys[%d]", at, i), `a line of ~/.ssh/id_ed25519.pub, in quotes; files go under "key_files:"`, err)
	}
	for i, in := range e.KeyFiles {
		v.artifact(fmt.Sprintf("%s.key_files[%d]", at, i), in)
	}
	v.hinted(at+".password", `the hash that "mkpasswd -m yescrypt" prints (Debian package whois), in quotes`, manifest.CheckPassword(e.Password))
	if len(e.Keys) == 0 && len(e.KeyFiles) == 0 && e.Password == "" {
		v.fail(at, `add "keys: [...]" with lines of their .pub files`, "nobody could log in")
	}
	v.atMost(at+".keys", len(e.Keys), manifest.DefaultBounds().Keys)
	if e.HostKey != "" {
		v.oneOf(at+".host_key", e.HostKey, manifest.HostKeyBoot, manifest.HostKeyMachine)
	}
	if e.Port < 0 || e.Port > 65535 {
		v.fail(at+".port", "", "%d is not between 1 and 65535", e.Port)
	}
	v.seconds(at+".seconds", e.Seconds, manifest.DefaultBounds().Idle)
	v.then(at, e.Then)
	v.toolbox(at, e.Toolbox, s)
}

// flash validates what is written to which disk.
func (v *validator) flash(at string, e *FlashEntry, s scope) {
	if s.medium {
		v.fail(at, `put it into the recipe of a site`, "an image does not lie in the memory of every machine")
	}
	v.artifact(at+".image", e.Image)
	if e.Cast != nil {
		_, err := cast.ParseGroup(e.Cast.Group)
		v.hinted(at+".cast", `for example {group: "239.255.0.1:7400"}`, err)
	}
	v.hinted(at+".disk", `for example {serial: S3Z8NB0K}, or {min_size: 100GB, pick: smallest}`, manifest.CheckDisk(e.Disk.manifest()))
	for i, f := range e.Files {
		at := fmt.Sprintf("%s.files[%d]", at, i)
		check := manifest.FlashFile{Partition: f.Partition, Path: f.Path, Content: string(f.Text)}
		v.hinted(at, `for example {partition: 1, path: /etc/hostname, text: "web1\n"}`, manifest.CheckFlashFile(check))
		v.content(at, f.Content)
		if f.Expand && !f.written() {
			v.fail(at, "", "only text is expanded")
		}
		same := func(o FlashFile) bool { return o.Partition == f.Partition && o.Path == f.Path }
		if slices.ContainsFunc(e.Files[:i], same) {
			v.fail(at, "", "%q of partition %d stands twice", f.Path, f.Partition)
		}
	}
	v.atMost(at+".files", len(e.Files), manifest.DefaultBounds().FlashFiles)
	v.then(at, e.Then)
}

// content validates what a file holds.
func (v *validator) content(at string, c Content) {
	if !c.written() {
		if c.Input == (Input{Line: c.Line}) {
			v.fail(at, `for what is short: {text: "..."}`, "want one of deb, url, file and text")
		}
		v.artifact(at, c.Input)
	} else if c.Input != (Input{Line: c.Line}) {
		v.fail(at, "", "text excludes deb, url and file")
	}
}

// packages validates what a toolbox is made of.
func (v *validator) packages(at string, t Toolbox) {
	if len(t.Packages) == 0 {
		v.fail(at+".packages", `for example [e2fsprogs, openssh-client]`, "an empty toolbox")
	}
	v.each(at+".packages", t.Packages, debName, "not a package's name")
	for i, name := range t.Packages {
		if slices.Contains(t.Packages[:i], name) {
			v.fail(fmt.Sprintf("%s.packages[%d]", at, i), "", "%q stands twice", name)
		}
	}
	v.files(at+".files", t.Files)
	for i, name := range t.Drop {
		v.pathText(fmt.Sprintf("%s.drop[%d]", at, i), name)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Alternatives)) {
		if target := t.Alternatives[name]; !debName.MatchString(name) || !path.IsAbs(target) || path.Clean(target) != target {
			v.fail(at+".alternatives."+name, `for example {editor: /usr/bin/nano}`, "want a command and an absolute path")
		}
	}
}

// files validates files by their paths in a root file system.
func (v *validator) files(at string, files map[string]ModeFile) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		v.pathText(at+"."+name, name)
		v.content(at+"."+name, files[name].Content)
	}
}

// toolbox validates where a script or a rescue is at work.
func (v *validator) toolbox(at, name string, s scope) {
	switch {
	case s.medium && name != "":
		v.fail(at+".toolbox", "leave it out", "a medium has one toolbox, its own")
	case s.medium && !s.toolbox:
		v.fail(at, `add "toolbox: {packages: [...]}" to the recipe`, "it works in a toolbox, and the medium has none")
	}
	if _, known := s.toolboxes[name]; !s.medium && name != "" && !known {
		v.fail(at+".toolbox", didYouMean(name, slices.Collect(maps.Keys(s.toolboxes))), "no toolbox is called %q", name)
	}
}

// then validates what comes after an entry.
func (v *validator) then(at, then string) {
	all := []string{manifest.ThenNext, manifest.ThenLocal, manifest.ThenReboot, manifest.ThenOff, manifest.ThenWait}
	if then != "" {
		v.oneOf(at+".then", then, all...)
	}
}

// seconds validates a time of at least so much; 0 is the default.
func (v *validator) seconds(at string, seconds, least int) {
	if most := manifest.DefaultBounds().Seconds; seconds != 0 && (seconds < least || seconds > most) {
		v.fail(at, "", "%d is not between %d and %d", seconds, least, most)
	}
}

// limits validates what is to be tighter than the agent's own limits.
func (v *validator) limits(l *Limits) {
	if l == nil {
		return
	}
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"network", l.Network, 5, 60}, // a switch takes up to 4 s
		{"manifest", l.Manifest, 5, 120},
		{"stall", l.Stall, 2, 30},
		{"object", l.Object, 10, manifest.DefaultBounds().Seconds},
		{"attempts", l.Attempts, 1, 5},
		{"rounds", l.Rounds, 1, 3},
		{"pause", l.Pause, 1, 60},
	} {
		if f.value != 0 && (f.value < f.low || f.value > f.high) {
			v.fail("limits."+f.name, "limits are tightened, not loosened; leave it out for the agent's own", "%d is not between %d and %d", f.value, f.low, f.high)
		}
	}
}

// manifest returns the disk as a manifest has it.
func (d Disk) manifest() manifest.Disk {
	return manifest.Disk{Serial: d.Serial, ID: d.ID, MinSize: int64(d.MinSize), MaxSize: int64(d.MaxSize), Pick: d.Pick}
}
