package recipe

import "github.com/farboot/farboot/payload/netconf"

// Kinds of recipe, as the recipe's first key names them.
const (
	KindMedium = "medium"
	KindSite   = "site"
)

// Recipe is one decoded and validated recipe file. Exactly one of Medium and
// Site is set, as Kind says.
type Recipe struct {
	// Path is the recipe's file as the user named it, for messages.
	Path string
	// Dir is the project folder that every path in the recipe is relative to
	// and may not leave: the folder that holds the recipe, or the folder above
	// it where that folder is called "recipes".
	Dir string
	// Raw is the recipe's text. A medium's build id covers it.
	Raw    []byte
	Kind   string
	Medium *Medium
	Site   *Site

	lines map[string]int // of the fields
}

// Medium is a recipe of kind "medium": what is burned.
type Medium struct {
	Kind string `yaml:"kind" json:"kind"`
	// Name becomes the name of the results: out/<name>.iso, out/<name>/.
	Name string `yaml:"name" json:"name"`
	// Apt says where "deb:" inputs come from; by default from the machine's
	// own apt configuration.
	Apt Apt `yaml:"apt" json:"apt,omitzero"`
	// Kernel is what the agent runs on.
	Kernel Kernel `yaml:"kernel" json:"kernel"`
	// Compression of the initramfs: "xz" (small, the default) or "zstd" (fast).
	Compression string `yaml:"compression" json:"compression,omitzero"`
	// Trust is the folder with the trust statement, made by "farboot keys init".
	Trust string `yaml:"trust" json:"trust"`
	// Site lists the base URLs that the agent asks, in order. With [] it asks
	// nobody and starts what stands under "fallback" at once.
	Site []string `yaml:"site" json:"site"`
	// Roots lists files with CA certificates (PEM) for sites that are reached by
	// https. Default, where there are such sites, is Debian's ca-certificates.
	Roots []Input `yaml:"roots" json:"roots,omitzero"`
	// Channel must equal the site's. Default "stable".
	Channel string `yaml:"channel" json:"channel,omitzero"`
	// RequireTime refuses to boot anything where no time can be trusted. Default
	// false: what could not be checked for want of time is said on screen.
	RequireTime bool `yaml:"require_time" json:"require_time,omitzero"`
	// TrustRTC takes the firmware's clock for a time that can be trusted, and so
	// lets it end the life of a manifest. Default false.
	TrustRTC bool `yaml:"trust_rtc" json:"trust_rtc,omitzero"`
	// Networks lists the ways to reach a site, tried at the same time: card, bond,
	// vlan, mtu, ipv4, ipv6, addresses, gateways, dns, proxy. Default is every
	// wired card with DHCP and IPv6 as routers announce it.
	Networks []netconf.Network `yaml:"networks" json:"networks,omitzero"`
	// Proxy is the HTTP proxy of networks that name none, "http://HOST:PORT".
	Proxy string `yaml:"proxy" json:"proxy,omitzero"`
	// Report lists where the agent posts a report of each boot: URLs, or "site"
	// for the site that it boots from. Default none.
	Report []string `yaml:"report" json:"report,omitzero"`
	// Syslog is where the agent's log goes while it works, "udp://HOST:514" or
	// "tcp://HOST:514". Default nowhere.
	Syslog string `yaml:"syslog" json:"syslog,omitzero"`
	// Fallback lists what is started, in order, where no site has anything that
	// starts. Kernels and initrds lie on the medium, and in the memory of every
	// machine from the start.
	Fallback []Entry `yaml:"fallback" json:"fallback,omitzero"`
	// Toolbox is the root file system in which scripts and people work. Default
	// none.
	Toolbox *MediumToolbox `yaml:"toolbox" json:"toolbox,omitzero"`
	// Limits tighten those of the agent.
	Limits *Limits `yaml:"limits" json:"limits,omitzero"`
	// Console lists kernel consoles, the main one last. Default tty0 and
	// "ttyS0,115200".
	Console []string `yaml:"console" json:"console,omitzero"`
	// Cmdline is added to the agent's own kernel command line.
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
	// Timeout is how long the menu waits, in seconds. Default 3; 0 boots at once,
	// as a menu with one entry does.
	Timeout *int `yaml:"timeout" json:"timeout,omitzero"`
	// Default is the title of the entry that starts where nobody chooses. Default
	// is the first. Where it is not shown, the first that is takes its place.
	Default string `yaml:"default" json:"default,omitzero"`
	// Password is what grub-mkpasswd-pbkdf2 prints: then GRUB's editor, its command
	// line and locked entries are for those who know it, under the name "admin".
	// Without one whoever is at the keyboard can change what is started. It guards
	// no disk and no medium: whoever can start another one has no need of it.
	Password string `yaml:"password" json:"password,omitzero"`
	// Menu lists the bootloader's entries. Without one the menu has the agent
	// alone.
	Menu []MenuEntry `yaml:"menu" json:"menu,omitzero"`
}

// Kernel names the package with the agent's kernel and the modules to take.
type Kernel struct {
	Input `yaml:",inline"`
	// Modules lists sets (net, storage, usb, filesystems, watchdog) and single
	// module names. Default net and usb.
	Modules []string `yaml:"modules" json:"modules,omitzero"`
}

// LinuxEntry is a Linux kernel (or something that looks like one, as
// memtest86+ does) with its initrds. In a medium's menu GRUB starts it.
type LinuxEntry struct {
	Kernel  Input   `yaml:"kernel" json:"kernel"`
	Initrd  []Input `yaml:"initrd" json:"initrd,omitzero"`
	Cmdline string  `yaml:"cmdline" json:"cmdline,omitzero"`
}

// KexecEntry is a LinuxEntry that the agent starts.
type KexecEntry struct {
	LinuxEntry `yaml:",inline"`
	// Files are put into one more initrd after the others, by their paths in it:
	// "preseed.cfg" is where Debian's installer looks for its answers.
	Files map[string]ModeFile `yaml:"files" json:"files,omitzero"`
	// Network appends the network that the agent has, as BOOTIF= and ip=, to the
	// command line.
	Network bool `yaml:"network" json:"network,omitzero"`
	// Watchdog arms the machine's hardware watchdog with so many seconds, 30 to
	// 3600, and leaves it running: a system that does not take it over in time is
	// reset, and comes back to the medium. Default none.
	Watchdog int `yaml:"watchdog" json:"watchdog,omitzero"`
}

// LocalEntry starts what is installed on the machine's disks.
type LocalEntry struct {
	// Firmware restarts into the firmware's next boot device, and looks at no
	// disk.
	Firmware bool `yaml:"firmware" json:"firmware,omitzero"`
	// Disk is the serial number or wwid of the only disk to look at.
	Disk string `yaml:"disk" json:"disk,omitzero"`
}

// PowerEntry restarts the machine or switches it off.
type PowerEntry struct {
	// Action is "reboot" or "off".
	Action string `yaml:"action" json:"action"`
}

// Site is a recipe of kind "site": what is served.
type Site struct {
	Kind string `yaml:"kind" json:"kind"`
	// Name becomes the name of the result, out/<name>/. Default "site".
	Name string `yaml:"name" json:"name,omitzero"`
	Apt  Apt    `yaml:"apt" json:"apt,omitzero"`
	// Product must equal the trust statement's, which is also its default.
	Product string `yaml:"product" json:"product,omitzero"`
	// Channel must equal the media's. Default "stable".
	Channel string `yaml:"channel" json:"channel,omitzero"`
	// Trust is the folder with the trust statement. Default "keys".
	Trust string `yaml:"trust" json:"trust,omitzero"`
	// ValidDays is how long a published manifest may be used. Default 30.
	ValidDays *int             `yaml:"valid_days" json:"valid_days,omitzero"`
	Entries   map[string]Entry `yaml:"entries" json:"entries"`
	Machines  []Machine        `yaml:"machines" json:"machines,omitzero"`
	// Groups, by name, are machines that boot the same. They come after the
	// Machines, in the order of their names.
	Groups map[string]Group `yaml:"groups" json:"groups,omitzero"`
	// Documents publishes one signed document for each machine, for fleets that
	// do not fit into one manifest. Default false.
	Documents bool `yaml:"documents" json:"documents,omitzero"`
	// Default lists the entries for machines that nothing matches, in order.
	Default []string `yaml:"default" json:"default,omitzero"`
	// Menu is for all machines that have none of their own. Default none: the
	// machine's list is tried at once.
	Menu *Menu `yaml:"menu" json:"menu,omitzero"`
	// Limits tighten those of the agent.
	Limits *Limits `yaml:"limits" json:"limits,omitzero"`
	// Files are what scripts can ask for by name, with "farboot fetch NAME".
	Files map[string]Content `yaml:"files" json:"files,omitzero"`
	// Images are read by machines from where they lie, by name.
	Images map[string]SiteImage `yaml:"images" json:"images,omitzero"`
	// Toolboxes are root file systems for scripts and rescue, by name.
	Toolboxes map[string]Toolbox `yaml:"toolboxes" json:"toolboxes,omitzero"`
}

// Entry is one thing that a machine can boot. Exactly one kind is set.
type Entry struct {
	Title  string         `yaml:"title" json:"title"`
	Linux  *KexecEntry    `yaml:"linux" json:"linux,omitzero"`
	Local  *LocalEntry    `yaml:"local" json:"local,omitzero"`
	Power  *PowerEntry    `yaml:"power" json:"power,omitzero"`
	Script *ScriptEntry   `yaml:"script" json:"script,omitzero"`
	Rescue *RescueEntry   `yaml:"rescue" json:"rescue,omitzero"`
	Live   *LiveEntry     `yaml:"live" json:"live,omitzero"`
	Flash  *FlashEntry    `yaml:"flash" json:"flash,omitzero"`
	Xen    *XenKexecEntry `yaml:"xen" json:"xen,omitzero"`
	Iso    *IsoEntry      `yaml:"iso" json:"iso,omitzero"`
	Image  *ImageEntry    `yaml:"image" json:"image,omitzero"`
}

// Machine says what a machine boots.
type Machine struct {
	Match Match `yaml:"match" json:"match"`
	// Name is its host name, and what people call it.
	Name string `yaml:"name" json:"name,omitzero"`
	// Group names the group that it belongs to: what is not said here is as there.
	Group string `yaml:"group" json:"group,omitzero"`
	// Power says how the machine is switched from afar.
	Power *Power `yaml:"power" json:"power,omitzero"`
	Plan  `yaml:",inline"`
}

// Group says what several machines boot: those that Match, and those that name
// it as theirs.
type Group struct {
	Match []Match `yaml:"match" json:"match,omitzero"`
	// Power is for what its machines have in common: user, password, driver.
	Power *Power `yaml:"power" json:"power,omitzero"`
	Plan  `yaml:",inline"`
}

// Plan is what is to happen on a machine.
type Plan struct {
	// Boot lists entries, in the order in which they are tried.
	Boot []string `yaml:"boot" json:"boot,omitzero"`
	// Menu takes the place of the site's.
	Menu *Menu `yaml:"menu" json:"menu,omitzero"`
	// Networks are how the machine is connected, once it has read this: for what
	// is fetched, for scripts and rescue, and for kernels with "network: true".
	Networks []netconf.Network `yaml:"networks" json:"networks,omitzero"`
	// Env are variables for its scripts. They prevail over those of an entry.
	Env map[string]string `yaml:"env" json:"env,omitzero"`
}

// Match recognises a machine. Every field that is set must fit.
type Match struct {
	MAC    string `yaml:"mac" json:"mac,omitzero"`
	UUID   string `yaml:"uuid" json:"uuid,omitzero"`
	Serial string `yaml:"serial" json:"serial,omitzero"`
}

// Input is where bytes come from: a package ("deb", with "file" for one file
// of it), a URL with its hash, or a file of the project.
type Input struct {
	Deb    string `yaml:"deb" json:"deb,omitzero"`
	URL    string `yaml:"url" json:"url,omitzero"`
	SHA256 string `yaml:"sha256" json:"sha256,omitzero"`
	// File is a path inside the package where Deb is set, otherwise a path
	// inside the project folder.
	File string `yaml:"file" json:"file,omitzero"`
	// Line is where the input stands in the recipe, for messages.
	Line int `yaml:"-" json:"-"`
}

// Apt says which repository serves "deb:" inputs.
type Apt struct {
	// Suite is the release, with its -updates and -security. Default "bookworm",
	// whatever the building machine runs.
	Suite string `yaml:"suite" json:"suite,omitzero"`
	// Mirror and Security are base URLs; by default the machine's own apt
	// configuration names them.
	Mirror   string `yaml:"mirror" json:"mirror,omitzero"`
	Security string `yaml:"security" json:"security,omitzero"`
	// Keyring is a file of the project with the repository's keys. It must be
	// set where Mirror is.
	Keyring string `yaml:"keyring" json:"keyring,omitzero"`
	// Components defaults to [main].
	Components []string `yaml:"components" json:"components,omitzero"`
	// Snapshot is the moment (RFC 3339) as of which a frozen mirror's
	// Valid-Until is judged. Only with Mirror.
	Snapshot string `yaml:"snapshot" json:"snapshot,omitzero"`
}
