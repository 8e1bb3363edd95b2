package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// Carried is what the kinds [Iso] and [Image] have in common: a system that lies on
// an image on the web, of which the machine reads the parts that it needs. The agent
// is carried into that system's initramfs, and serves the image there as a block
// device.
type Carried struct {
	// Image is the ISO, or the file system: its index, and where its bytes lie.
	Image chunks.Image `json:"image"`
	// Release is the kernel's, as "uname -r" prints it: "6.1.0-56-amd64".
	Release string `json:"release"`
	// Modules are an initrd of modules of exactly that kernel, with the index of
	// package payload/modules: drivers of network cards, and what the image takes
	// to be a block device with a file system. They may be in the system's own
	// initrd as well, or not. Nil is a kernel that has all of it built in.
	Modules *object.Ref `json:"modules,omitzero"`
	// Cmdline is the kernel's command line. [Device] in it is where the machine
	// writes the name of the block device.
	Cmdline string `json:"cmdline"`
	// Memory is what the system takes at least, in MiB; 0 is not known.
	Memory int `json:"memory,omitzero"`
	// Profile says which chunks a boot reads, in what order; nil is not known.
	Profile *object.Ref `json:"profile,omitzero"`
	// Cache is where chunks are kept on the machine; nil is where a folder for it is.
	Cache *Cache `json:"cache,omitzero"`
	// Network and Watchdog are as for [Linux].
	Network  bool `json:"network,omitzero"`
	Watchdog int  `json:"watchdog,omitzero"`
}

// Device stands in a command line for the block device that the image becomes, for
// example /dev/nbd0. It is the only thing that is replaced there.
const Device = "{device}"

// Line is the command line with the block device in it.
func (x *Carried) Line(device string) string { return strings.ReplaceAll(x.Cmdline, Device, device) }

// Iso starts the live system of an ISO of whomever. All that takes a parser was read
// from it at the desk.
type Iso struct {
	Carried
	// Kernel and Initrd are the live system's.
	Kernel Part   `json:"kernel"`
	Initrd []Part `json:"initrd"`
	// Init is the /init of that initrd, which the agent starts in the end.
	Init Init `json:"init"`
	// Family is the program that finds the live system's medium, "live-boot" for
	// example: for reports.
	Family string `json:"family"`
}

// Part is a file that the machine takes from the image, or an object where the desk
// had to make one. The index vouches for bytes of the image.
type Part struct {
	// Path is what the image calls it, for reports. The file lies in one piece, at
	// Offset from the image's first byte.
	Path   string `json:"path,omitzero"`
	Offset int64  `json:"offset,omitzero"`
	Size   int64  `json:"size,omitzero"`
	// Object excludes the others.
	Object *object.Ref `json:"object,omitzero"`
}

// Length is the part's size in bytes, wherever it lies.
func (p Part) Length() int64 {
	if p.Object != nil {
		return p.Object.Size
	}
	return p.Size
}

// Init is the first program of an initramfs: exactly one field is set.
type Init struct {
	// Link is the absolute path that it links to: "/usr/lib/systemd/systemd".
	Link string `json:"link,omitzero"`
	// File is the program itself, a script as a rule.
	File *object.Ref `json:"file,omitzero"`
}

// Image starts a system whose root file system is an image.
type Image struct {
	Carried
	Kernel object.Ref `json:"kernel"`
	// Fstype is the image's file system: one of [Fstypes].
	Fstype string `json:"fstype"`
	// Init is the system's first program; empty is /sbin/init.
	Init string `json:"init,omitzero"`
	// Overlay is where the system writes to; nil is memory, and all is gone with
	// the next boot.
	Overlay *Overlay `json:"overlay,omitzero"`
	// Copy is [CopyRAM], or empty: the image is read as it is needed.
	Copy string `json:"copy,omitzero"`
}

// Overlay is a local file system that keeps what a system writes.
type Overlay struct {
	// Label is that of an ext4 file system: exactly one on the machine's disks has
	// it. What is kept lies there in a folder farboot-overlay/NAME, of the entry's
	// name.
	Label string `json:"label"`
}

// CopyRAM copies an image into memory before the system starts, if there is twice as
// much memory; otherwise it is read as it is needed.
const CopyRAM = "ram"

// Fstypes are the values of [Image.Fstype].
func Fstypes() []string { return []string{"squashfs", "erofs", "ext4"} }

// Program is the path of the system's first program.
func (x *Image) Program() string { return cmp.Or(x.Init, "/sbin/init") }

func (x *Iso) kind() string { return "iso" }
func (x *Iso) then() string { return "" }
func (x *Iso) refs() []object.Ref {
	all := append(x.Carried.refs(), optional(x.Kernel.Object)...)
	for _, p := range x.Initrd {
		all = append(all, optional(p.Object)...)
	}
	return append(all, optional(x.Init.File)...)
}

func (x *Image) kind() string       { return "image" }
func (x *Image) then() string       { return "" }
func (x *Image) refs() []object.Ref { return append(x.Carried.refs(), x.Kernel) }

func (x *Carried) refs() []object.Ref {
	return append(append(x.Image.Refs(), optional(x.Modules)...), optional(x.Profile)...)
}

func (x *Iso) validate(b Bounds) error {
	if err := x.Kernel.validate(b.Kernel, b); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if n := len(x.Initrd); n < 1 || n > b.Initrds {
		return fmt.Errorf("%d initrds, want 1 to %d", n, b.Initrds)
	}
	for i, p := range x.Initrd {
		if err := p.validate(b.Initrd, b); err != nil {
			return fmt.Errorf("initrd %d: %w", i+1, err)
		}
	}
	if err := CheckName(x.Family); err != nil {
		return fmt.Errorf("family: %w", err)
	}
	return cmp.Or(x.Init.validate(b), x.Carried.validate(b))
}

func (p Part) validate(most int64, b Bounds) error {
	if p.Object != nil {
		if p != (Part{Object: p.Object}) {
			return errors.New("an object has no place in the image")
		}
		return checkRef(*p.Object, most)
	}
	if p.Size < 1 || p.Size > most || p.Offset < 0 || p.Offset > b.Image-p.Size {
		return fmt.Errorf("%d bytes at %d of the image, want 1 to %d", p.Size, p.Offset, most)
	}
	return checkPath(p.Path)
}

func (i Init) validate(b Bounds) error {
	var err error
	switch {
	case (i.Link == "") == (i.File == nil):
		err = errors.New("want exactly one of link and file")
	case i.File != nil:
		err = checkRef(*i.File, b.Init)
	default:
		err = checkPath(i.Link)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

func (x *Image) validate(b Bounds) error {
	if err := checkRef(x.Kernel, b.Kernel); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	return cmp.Or(CheckFstype(x.Fstype), CheckInit(x.Init), CheckOverlay(x.Overlay), CheckCopy(x.Copy), x.Carried.validate(b))
}

func (x *Carried) validate(b Bounds) error {
	if err := x.Image.Check(); err != nil {
		return err
	}
	if err := CheckRelease(x.Release); err != nil {
		return err
	}
	for _, f := range []struct {
		what string
		ref  *object.Ref
		most int64
	}{{"modules", x.Modules, b.Modules}, {"profile", x.Profile, b.Index}} {
		if f.ref == nil {
			continue
		}
		if err := checkRef(*f.ref, f.most); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	if x.Memory < 0 || x.Memory > b.GuestMemoryMax {
		return fmt.Errorf("memory of %d MiB, want at most %d", x.Memory, b.GuestMemoryMax)
	}
	return cmp.Or(CheckCarriedLine(x.Cmdline), CheckWatchdog(x.Watchdog), CheckCache(x.Cache))
}

// CheckCarriedLine tells what is wrong with the command line of a system on an
// image: what [CheckCmdline] says of it once the longest name of a device is in it.
func CheckCarriedLine(s string) error {
	return CheckCmdline(strings.ReplaceAll(s, Device, "/dev/loop255"))
}

// CheckRelease tells what is wrong with the release of a kernel: Linux keeps 64
// bytes of it (__NEW_UTS_LEN), and it names a folder.
func CheckRelease(s string) error {
	if s == "" || len(s) > 64 || strings.Trim(s, letters+digits+"._+~-") != "" || s[0] == '.' {
		return fmt.Errorf("release %+q: want one like \"6.1.0-56-amd64\"", clip(s))
	}
	return nil
}

// CheckFstype tells what is wrong with the type of a root file system.
func CheckFstype(s string) error {
	if !slices.Contains(Fstypes(), s) {
		return fmt.Errorf("fstype %+q: want one of %s", clip(s), strings.Join(Fstypes(), ", "))
	}
	return nil
}

// CheckInit tells what is wrong with the path of a system's first program; "" is its
// default.
func CheckInit(s string) error {
	if s == "" {
		return nil
	}
	if err := checkPath(s); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// CheckOverlay tells what is wrong with where a system writes to; nil is memory.
// ext4 has 16 bytes for a label.
func CheckOverlay(o *Overlay) error {
	if o == nil {
		return nil
	}
	if err := checkText(o.Label, 16); err != nil || o.Label == "" {
		return fmt.Errorf("overlay: label %+q: want 1 to 16 printable ASCII characters", clip(o.Label))
	}
	return nil
}

// CheckCopy tells what is wrong with where an image is copied to; "" is nowhere.
func CheckCopy(s string) error {
	if s != "" && s != CopyRAM {
		return fmt.Errorf("copy %+q: want %q, or none", clip(s), CopyRAM)
	}
	return nil
}

// checkPath wants an absolute path without "..".
func checkPath(s string) error {
	if err := checkText(s, maxPath); err != nil || !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return fmt.Errorf("path %+q: want an absolute one without \"..\", in printable ASCII", clip(s))
	}
	return nil
}
