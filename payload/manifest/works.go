package manifest

import (
	"cmp"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// What comes after a script that ended well, a rescue that ended and a flash.
const (
	// ThenNext goes on with the next entry of the machine's list.
	ThenNext = "next"
	// ThenLocal starts what is installed on the machine, as an empty [Local].
	ThenLocal = "local"
	// ThenReboot restarts the machine and ThenOff switches it off.
	ThenReboot = Reboot
	ThenOff    = Off
	// ThenWait does nothing more, and leaves the network up.
	ThenWait = "wait"
)

// Script is a program that is run in a toolbox. If it fails, so does the entry.
type Script struct {
	// Program begins with "#!".
	Program object.Ref `json:"program"`
	// Args are given to it as they are.
	Args []string `json:"args,omitzero"`
	Env  Env      `json:"env,omitzero"`
	// Toolbox is the root file system to run in; nil is the medium's own.
	Toolbox *object.Ref `json:"toolbox,omitzero"`
	// Seconds is how long it may take; 0 is an hour.
	Seconds int `json:"seconds,omitzero"`
	// Then is what comes after it; empty is [ThenNext].
	Then string `json:"then,omitzero"`
}

// TimeLimit is how long the script may take.
func (x *Script) TimeLimit() time.Duration {
	return time.Duration(cmp.Or(x.Seconds, 3600)) * time.Second
}

// Rescue lets people in by SSH, or at the consoles, into a toolbox.
type Rescue struct {
	// Keys are lines as in OpenSSH's authorized_keys, without options. Each that
	// is listed may do everything. There may be none where there is a Password.
	Keys []string `json:"keys,omitzero"`
	// Password is a hash of crypt(3), as [password.Parse] takes it, of what opens
	// the machine's own consoles, and nothing else; empty leaves them closed.
	Password string `json:"password,omitzero"`
	// Toolbox is the root file system to work in; nil is the medium's own.
	Toolbox *object.Ref `json:"toolbox,omitzero"`
	// HostKey is [HostKeyBoot] or [HostKeyMachine]; empty is HostKeyBoot.
	HostKey string `json:"host_key,omitzero"`
	// Port is the TCP port; 0 is 22.
	Port int `json:"port,omitzero"`
	// Seconds is after how long without anybody logged in the rescue ends; 0 is
	// never.
	Seconds int `json:"seconds,omitzero"`
	// Then is what comes after it; empty is [ThenNext].
	Then string `json:"then,omitzero"`
}

// Which host key a rescue shows.
const (
	// HostKeyBoot is one that is made fresh with each boot.
	HostKeyBoot = "boot"
	// HostKeyMachine is one that the machine keeps.
	HostKeyMachine = "machine"
)

// ListenPort is the TCP port.
func (x *Rescue) ListenPort() int { return cmp.Or(x.Port, 22) }

// Flash writes an image to a disk.
type Flash struct {
	// Image is the file on the site, compressed as Format says: "" is not, "xz",
	// "zst" and "gz" are.
	Image  object.Ref `json:"image"`
	Format string     `json:"format,omitzero"`
	// Index is a casync index (.caibx) of the image once it is decompressed, in
	// chunks of a fixed size: each is checked before a byte of it is written. It
	// tells the image's size.
	Index object.Ref `json:"index"`
	Disk  Disk       `json:"disk"`
	// Grow extends the last partition and its file system to the disk's end.
	Grow bool `json:"grow,omitzero"`
	// Files are put into the image's file systems once it is written.
	Files []FlashFile `json:"files,omitzero"`
	// Then is what comes after it; empty is [ThenReboot].
	Then string `json:"then,omitzero"`
	// Again writes the image also to a disk that holds it already. Otherwise such
	// a disk is left alone, and the machine's next entry comes.
	Again bool `json:"again,omitzero"`
	// Cast is how the image may come to all machines at once; nil is by HTTP alone.
	// Image is a seekable file then, of Format "zst".
	Cast *Cast `json:"cast,omitzero"`
}

// Cast is a group to which somebody may send an image, as package cast has it.
type Cast struct {
	// Group is as [cast.ParseGroup] takes it.
	Group string `json:"group"`
	// Table is the seek table at the image's end, as an object of its own.
	Table object.Ref `json:"table"`
}

// Formats are the values of [Flash.Format].
func Formats() []string { return []string{"", "xz", "zst", "gz"} }

// Disk recognises the one disk that is meant. Every field that is set must fit;
// where several disks fit, Pick decides.
type Disk struct {
	// Serial and ID are the disk's serial number and its wwid, as sysfs shows
	// them.
	Serial string `json:"serial,omitzero"`
	ID     string `json:"id,omitzero"`
	// MinSize and MaxSize bound the disk's size, in bytes; 0 is no bound.
	MinSize int64 `json:"min_size,omitzero"`
	MaxSize int64 `json:"max_size,omitzero"`
	// Pick is [PickOnly], [PickSmallest] or [PickLargest]; empty is PickOnly.
	Pick string `json:"pick,omitzero"`
}

// How to choose among several disks that fit. Of two that are equally small or
// large, none is chosen.
const (
	PickOnly     = "only"
	PickSmallest = "smallest"
	PickLargest  = "largest"
)

// FlashFile is a file to put into one of the image's file systems: a host name,
// keys, a seed for cloud-init.
type FlashFile struct {
	// Partition is the number of the partition, from 1.
	Partition int `json:"partition"`
	// Path is absolute within that file system. Folders above it are made.
	Path string `json:"path"`
	// Mode has the permission bits; 0 is 0644.
	Mode uint32 `json:"mode,omitzero"`
	// Content or Object is what the file holds.
	Content string      `json:"content,omitzero"`
	Object  *object.Ref `json:"object,omitzero"`
	// Expand puts the machine's own variables into Content, see [FlashFile.Text].
	Expand bool `json:"expand,omitzero"`
}

func (x *Script) kind() string { return "script" }
func (x *Script) then() string { return cmp.Or(x.Then, ThenNext) }
func (x *Script) refs() []object.Ref {
	return append([]object.Ref{x.Program}, optional(x.Toolbox)...)
}

func (x *Rescue) kind() string       { return "rescue" }
func (x *Rescue) then() string       { return cmp.Or(x.Then, ThenNext) }
func (x *Rescue) refs() []object.Ref { return optional(x.Toolbox) }

func (x *Flash) kind() string { return "flash" }
func (x *Flash) then() string { return cmp.Or(x.Then, ThenReboot) }
func (x *Flash) refs() []object.Ref {
	all := []object.Ref{x.Image, x.Index}
	if x.Cast != nil {
		all = append(all, x.Cast.Table)
	}
	for _, f := range x.Files {
		all = append(all, optional(f.Object)...)
	}
	return all
}

// optional lists ref, if there is one.
func optional(ref *object.Ref) []object.Ref {
	if ref == nil {
		return nil
	}
	return []object.Ref{*ref}
}
