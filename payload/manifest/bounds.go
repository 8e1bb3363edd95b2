package manifest

// Bounds say what a manifest can ask of a machine at most. They catch mistakes
// and a careless signer; the machine's own memory is checked where it is needed.
type Bounds struct {
	// Entries in one manifest: more fit into no menu.
	Entries int
	// Boot entries in one list: each failure costs a download and a retry.
	Boot int
	// Files that scripts can ask for: more than a release has packages that
	// somebody would name one by one.
	Files int
	// Optional keys of later versions: more than one a year.
	Optional int
	// Seconds is the longest time that can be set, in seconds: a week, after
	// which a disk of any size is checked and nobody waits any more.
	Seconds int
	// MenuSeconds is how long a menu waits at most: who has not chosen in an
	// hour is not there.
	MenuSeconds int

	// Initrds of one entry. Real ones have 1 to 4 (microcode, initrd, firmware,
	// answers); each is one open file and one progress line.
	Initrds int
	// Kernel size in bytes. Debian's has 8 MiB, one with everything built in
	// and an embedded initramfs stays well under this.
	Kernel int64
	// Initrd size in bytes, each. Live systems are served as one initrd of a
	// few GiB; it has to fit into RAM twice.
	Initrd int64
	// Init is the size of an initramfs' /init, in bytes: a script of some KiB, or a
	// program.
	Init int64
	// Modules is the size of a kernel's modules that an image needs, in bytes:
	// Debian's for all network cards have 45 MiB unpacked.
	Modules int64
	// WatchdogMin and WatchdogMax bound an armed watchdog, in seconds: the
	// shortest in which a kernel reaches a user space that takes it over, and an
	// hour, after which nobody waits for a machine.
	WatchdogMin, WatchdogMax int

	// Hypervisor is Xen's size in bytes. Debian's has 3.7 MiB unpacked.
	Hypervisor int64
	// XenModules beside dom0's kernel and initrd: there are two kinds, microcode
	// and a policy.
	XenModules int
	// XenModule is the size of one, and of an initrd for dom0, in bytes: all lie
	// below 4 GiB.
	XenModule int64

	// Services of a live system: a boot of Debian starts some twenty.
	Services int
	// Guests are the machines of one live system: more than one server's memory
	// holds beside each other in a list that people read.
	Guests int
	// GuestMemory and GuestMemoryMax bound a machine's memory, in MiB: the least
	// in which a kernel says anything, and what no server has.
	GuestMemory, GuestMemoryMax int
	// VCPUs of one machine (HVM_MAX_VCPUS of Xen).
	VCPUs int

	// Program is the size of a script, in bytes: it lies in memory. Installers
	// that carry an archive behind their text have some MiB.
	Program int64
	// Toolbox is its size in bytes. Debian with all of its rescue tools has under
	// 500 MiB packed; it lies in memory, or on a medium.
	Toolbox int64
	// Words are a script's arguments, and its variables; Word is the size of
	// each, in bytes. Linux takes 128 KiB in one (MAX_ARG_STRLEN).
	Words, Word int

	// Keys of one rescue: more people than watch one machine.
	Keys int
	// Idle is the shortest time, in seconds, after which a rescue without
	// anybody logged in ends: a person needs some to find the key.
	Idle int

	// Image is an image's size, or that of a file for scripts, in bytes, as it
	// lies on the site.
	Image int64
	// Index is the size of an image's index, in bytes: 40 for each MiB of the
	// image, so that this is enough for 4 TiB.
	Index int64
	// Partition is the highest number of one: GPTs are made for 128.
	Partition int
	// FlashFiles are put into an image, and each that stands in the manifest has
	// at most FlashContent bytes. Seeds of cloud-init have one or two KiB; what
	// is larger is an object.
	FlashFiles, FlashContent int
}

// DefaultBounds returns those that [Manifest.Validate] applies.
func DefaultBounds() Bounds {
	return Bounds{
		Entries:     256,
		Boot:        16,
		Files:       256,
		Optional:    16,
		Seconds:     7 * 24 * 3600,
		MenuSeconds: 3600,

		Initrds:     16,
		Kernel:      256 << 20,
		Initrd:      16 << 30,
		Init:        64 << 20,
		Modules:     1 << 30,
		WatchdogMin: 30,
		WatchdogMax: 3600,

		Hypervisor: 64 << 20,
		XenModules: 8,
		XenModule:  2 << 30,

		Services:       32,
		Guests:         64,
		GuestMemory:    16,
		GuestMemoryMax: 16 << 20,
		VCPUs:          128,

		Program: 16 << 20,
		Toolbox: 4 << 30,
		Words:   64,
		Word:    4096,

		Keys: 64,
		Idle: 60,

		Image:        1 << 40,
		Index:        161 << 20,
		Partition:    128,
		FlashFiles:   64,
		FlashContent: 64 << 10,
	}
}
