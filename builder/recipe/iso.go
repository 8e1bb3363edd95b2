package recipe

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/manifest"
)

// IsoEntry starts the live system of an ISO, which machines read from where it lies.
type IsoEntry struct {
	// Image names one of the site's images: an ISO, and not compressed.
	Image string `yaml:"image" json:"image"`
	// Kernel and Initrd are files of the ISO. Default is what its own menu starts.
	Kernel string   `yaml:"kernel" json:"kernel,omitzero"`
	Initrd []string `yaml:"initrd" json:"initrd,omitzero"`
	// Cmdline is the whole command line, in which {device} is where the block device
	// comes that the ISO will be. Default is that of the ISO's own menu, made to fit.
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
	// Append comes behind the command line, whoever wrote it: "console=ttyS0".
	Append string `yaml:"append" json:"append,omitzero"`
	// Options are what the live system is told, by parameters of its own.
	Options LiveOptions `yaml:"options" json:"options,omitzero"`
	// Modules is the package with the kernel's modules, "deb: linux-image-...", of
	// exactly the ISO's kernel. Default is the ISO itself, as a rule its squashfs.
	Modules *Input `yaml:"modules" json:"modules,omitzero"`
	Carried `yaml:",inline"`
}

// LiveOptions are what a live system is told.
type LiveOptions struct {
	// Lang is the language, "de_DE.UTF-8", and Keyboard the layout, "de".
	Lang     string `yaml:"lang" json:"lang,omitzero"`
	Keyboard string `yaml:"keyboard" json:"keyboard,omitzero"`
	// Timezone is one like "Europe/Vienna".
	Timezone string `yaml:"timezone" json:"timezone,omitzero"`
	Hostname string `yaml:"hostname" json:"hostname,omitzero"`
	// Username is that of the person whom the system logs in.
	Username string `yaml:"username" json:"username,omitzero"`
	// SSHKeys are lines of .pub files for root and for users that the system makes.
	// They take a system with an SSH server.
	SSHKeys []string `yaml:"ssh_keys" json:"ssh_keys,omitzero"`
	// SSHKeyFiles are files with such lines, like authorized_keys.
	SSHKeyFiles []Input `yaml:"ssh_key_files" json:"ssh_key_files,omitzero"`
}

// ImageEntry starts a system whose root file system is an image, which machines read
// from where it lies.
type ImageEntry struct {
	// Image names one of the site's images: a squashfs, EROFS or ext4, no disk.
	Image string `yaml:"image" json:"image"`
	// Kernel is the package with kernel and modules: {deb: linux-image-amd64}.
	Kernel  Input  `yaml:"kernel" json:"kernel"`
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
	// Init is the system's first program. Default /sbin/init.
	Init string `yaml:"init" json:"init,omitzero"`
	// Overlay is where the system writes to: {label: ...} of an ext4 file system on
	// the machine. Default is memory.
	Overlay *Overlay `yaml:"overlay" json:"overlay,omitzero"`
	// Copy is "ram" to copy the image into memory before the system starts, where
	// there is enough. Default is to read what is needed when it is.
	Copy    string `yaml:"copy" json:"copy,omitzero"`
	Carried `yaml:",inline"`
}

// Overlay is a local file system that keeps what a system writes.
type Overlay struct {
	// Label is that of an ext4 file system, at most 16 characters.
	Label string `yaml:"label" json:"label"`
}

// Carried is what systems on images have in common.
type Carried struct {
	// Memory is what the system takes at least, in MiB. Default is an estimate for an
	// ISO, and none for an image.
	Memory int `yaml:"memory" json:"memory,omitzero"`
	// Cache is where machines keep what they have read. Default is a folder called
	// farboot-cache on any of their file systems.
	Cache *Cache `yaml:"cache" json:"cache,omitzero"`
	// Network appends the network that the agent has, as BOOTIF= and ip=, to the
	// command line.
	Network bool `yaml:"network" json:"network,omitzero"`
	// Watchdog is as for linux.
	Watchdog int `yaml:"watchdog" json:"watchdog,omitzero"`
}

// Cache names a file system on the machine's disks, FAT or ext4.
type Cache struct {
	// Label and UUID are the file system's, as blkid shows them.
	Label string `yaml:"label" json:"label,omitzero"`
	UUID  string `yaml:"uuid" json:"uuid,omitzero"`
	// Size is how much the cache may take, in MiB. Default half of the room that there
	// is, at most 4096.
	Size int `yaml:"size" json:"size,omitzero"`
}

// inputs lists the package with modules and the files with keys; nil has none.
func (e *IsoEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	var in []Input
	if e.Modules != nil {
		in = append(in, *e.Modules)
	}
	return append(in, e.Options.SSHKeyFiles...)
}

// inputs lists the package with the kernel; nil has none.
func (e *ImageEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	return []Input{e.Kernel}
}

// Kernels returns the packages of the recipe with kernels, or that lead to one, each
// once, sorted.
func (r *Recipe) Kernels() []string {
	if r.Kind == KindMedium {
		return []string{r.Medium.Kernel.Deb}
	}
	var names []string
	for _, e := range r.Site.Entries {
		if e.Iso != nil && e.Iso.Modules != nil {
			names = append(names, e.Iso.Modules.Deb)
		}
		if e.Image != nil {
			names = append(names, e.Image.Kernel.Deb)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// iso validates the live system of an ISO.
func (v *validator) iso(at string, e *IsoEntry, s scope) {
	v.siteImage(at, e.Image, s)
	for i, name := range slices.Concat([]string{e.Kernel}, e.Initrd) {
		if name != "" && (!path.IsAbs(name) || path.Clean(name) != name) {
			v.fail(at+map[bool]string{true: ".kernel", false: fmt.Sprintf(".initrd[%d]", i-1)}[i == 0], `for example "/live/vmlinuz"`, "%q is no absolute path in the ISO", name)
		}
	}
	if e.Kernel != "" && (len(e.Initrd) == 0 || e.Cmdline == "") {
		v.fail(at+".kernel", "say all three, or leave them out", "kernel needs initrd and cmdline beside it")
	}
	v.atMost(at+".initrd", len(e.Initrd), manifest.DefaultBounds().Initrds-1) // one may be ours
	v.try(at+".cmdline", manifest.CheckCarriedLine(e.Cmdline))
	v.try(at+".append", manifest.CheckCmdline(e.Append))
	o := e.Options
	v.word(at+".options.lang", o.Lang, "de_DE.UTF-8")
	v.word(at+".options.keyboard", o.Keyboard, "de")
	v.word(at+".options.username", o.Username, "anna")
	v.try(at+".options.timezone", manifest.CheckTimezone(o.Timezone))
	v.try(at+".options.hostname", manifest.CheckHostname(o.Hostname))
	for i, line := range o.SSHKeys {
		_, err := authkey.Parse(line)
		v.hinted(fmt.Sprintf("%s.options.ssh_keys[%d]", at, i), `a line of ~/.ssh/id_ed25519.pub, in quotes; files go under "ssh_key_files:"`, err)
	}
	for i, in := range o.SSHKeyFiles {
		v.artifact(fmt.Sprintf("%s.options.ssh_key_files[%d]", at, i), in)
	}
	if e.Modules != nil {
		v.kernelPackage(at+".modules", *e.Modules)
	}
	v.carried(at, e.Carried)
}

// image validates a root file system.
func (v *validator) image(at string, e *ImageEntry, s scope) {
	v.siteImage(at, e.Image, s)
	v.kernelPackage(at+".kernel", e.Kernel)
	v.try(at+".cmdline", manifest.CheckCarriedLine(e.Cmdline))
	v.try(at+".init", manifest.CheckInit(e.Init))
	v.hinted(at+".overlay", `for example {label: farboot-data}: "mkfs.ext4 -L farboot-data ..." makes one`, manifest.CheckOverlay((*manifest.Overlay)(e.Overlay)))
	v.try(at+".copy", manifest.CheckCopy(e.Copy))
	v.carried(at, e.Carried)
}

// carried validates what systems on images have in common.
func (v *validator) carried(at string, e Carried) {
	if most := manifest.DefaultBounds().GuestMemoryMax; e.Memory < 0 || e.Memory > most {
		v.fail(at+".memory", "", "%d is not between 1 and %d", e.Memory, most)
	}
	v.hinted(at+".cache", `for example {label: DATA, size: 4096}`, manifest.CheckCache((*manifest.Cache)(e.Cache)))
	v.hinted(at+".watchdog", "it counts until the next system takes it over", manifest.CheckWatchdog(e.Watchdog))
}

// siteImage validates the name of an image.
func (v *validator) siteImage(at, name string, s scope) {
	if s.medium {
		v.fail(at, `put it into the recipe of a site`, "a medium has no images")
		return
	}
	if _, known := s.images[name]; !known {
		hint := didYouMean(name, slices.Collect(maps.Keys(s.images)))
		if hint == "" {
			hint = `images stand under "images:"`
		}
		v.fail(at+".image", hint, "no image is called %q", name)
	}
}

// kernelPackage validates the package with a kernel.
func (v *validator) kernelPackage(at string, in Input) {
	if in != (Input{Deb: in.Deb, Line: in.Line}) || in.Deb == "" {
		v.fail(at, `for example {deb: linux-image-amd64}`, "want a package with a kernel, and nothing else")
		return
	}
	v.input(at, in)
}

// word validates a value that becomes a part of a word of a command line.
func (v *validator) word(at, value, example string) {
	const fine = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@,"
	if len(value) > 64 || strings.Trim(value, fine) != "" {
		v.fail(at, fmt.Sprintf("for example %q", example), "%q is not letters, digits and . _ - @ ,", value)
	}
}
