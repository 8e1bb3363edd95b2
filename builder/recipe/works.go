package recipe

import "io/fs"

// ScriptEntry runs a program in a toolbox. If it fails, so does the entry.
type ScriptEntry struct {
	// Program begins with "#!": {text: ...}, or a file.
	Program Content `yaml:"program" json:"program"`
	// Args are given to it as they are.
	Args []string `yaml:"args" json:"args,omitzero"`
	// Env are its variables, in capitals.
	Env map[string]string `yaml:"env" json:"env,omitzero"`
	// Toolbox names one of the site's toolboxes. Default is the medium's.
	Toolbox string `yaml:"toolbox" json:"toolbox,omitzero"`
	// Seconds is how long it may take. Default 3600.
	Seconds int `yaml:"seconds" json:"seconds,omitzero"`
	// Then is what comes after it: "next" (the next entry of the list, the
	// default), "local" (what is installed), "reboot", "off" or "wait".
	Then string `yaml:"then" json:"then,omitzero"`
}

// RescueEntry lets people in by SSH, or at the consoles, into a toolbox.
type RescueEntry struct {
	// Keys are lines of the .pub files of those who may log in. Each may do
	// everything.
	Keys []string `yaml:"keys" json:"keys,omitzero"`
	// KeyFiles are files with such lines, like authorized_keys.
	KeyFiles []Input `yaml:"key_files" json:"key_files,omitzero"`
	// Password opens the machine's own consoles: a hash, as "mkpasswd -m yescrypt"
	// prints it. Who can read the site can try to guess what it was made from.
	// Default: nobody logs in at a console.
	Password string `yaml:"password" json:"password,omitzero"`
	// Toolbox names one of the site's toolboxes. Default is the medium's.
	Toolbox string `yaml:"toolbox" json:"toolbox,omitzero"`
	// HostKey is "boot" (made anew with each boot, the default) or "machine": made
	// once, and kept on the stick, where root on the machine can read it.
	HostKey string `yaml:"host_key" json:"host_key,omitzero"`
	// Port is the TCP port. Default 22.
	Port int `yaml:"port" json:"port,omitzero"`
	// Seconds is after how long without anybody logged in the rescue ends.
	// Default never.
	Seconds int `yaml:"seconds" json:"seconds,omitzero"`
	// Then is what comes after it, as after a script.
	Then string `yaml:"then" json:"then,omitzero"`
}

// FlashEntry writes an image to a disk.
type FlashEntry struct {
	// Image is a disk image, as it is or compressed by xz, zstd or gzip.
	Image Input `yaml:"image" json:"image"`
	// Disk says which disk. Default is the machine's only one.
	Disk Disk `yaml:"disk" json:"disk,omitzero"`
	// Grow extends the last partition and its file system (ext4, xfs, btrfs) to
	// the disk's end. Default false.
	Grow bool `yaml:"grow" json:"grow,omitzero"`
	// Files are put into the image's file systems once it is written.
	Files []FlashFile `yaml:"files" json:"files,omitzero"`
	// Then is what comes after it: as after a script, but "reboot" by default.
	Then string `yaml:"then" json:"then,omitzero"`
	// Again writes the image also where the disk holds it already. Default
	// false: then the next entry of the list comes.
	Again bool `yaml:"again" json:"again,omitzero"`
	// Cast lets machines take the image from "farboot cast" as well, which sends it
	// to a whole room at once.
	Cast *Cast `yaml:"cast" json:"cast,omitzero"`
}

// Cast says where an image may be sent by multicast.
type Cast struct {
	// Group is an address of 239.255.0.0/16 and a port: "239.255.0.1:7400". Each
	// image that is cast at the same time has its own.
	Group string `yaml:"group" json:"group"`
}

// Disk recognises a disk. Every field that is set must fit.
type Disk struct {
	// Serial and ID are the disk's serial number and its wwid, as in sysfs.
	Serial string `yaml:"serial" json:"serial,omitzero"`
	ID     string `yaml:"id" json:"id,omitzero"`
	// MinSize and MaxSize bound its size: "20GB", "1TiB".
	MinSize Size `yaml:"min_size" json:"min_size,omitzero"`
	MaxSize Size `yaml:"max_size" json:"max_size,omitzero"`
	// Pick chooses where several fit: "only" (none of them, the default),
	// "smallest" or "largest".
	Pick string `yaml:"pick" json:"pick,omitzero"`
}

// FlashFile is a file to put into an image.
type FlashFile struct {
	// Partition is the number of the partition, from 1.
	Partition int `yaml:"partition" json:"partition"`
	// Path is absolute within its file system.
	Path string `yaml:"path" json:"path"`
	// Expand puts what is the machine's own into the text, in the place of
	// {HOSTNAME}, {MAC}, {UUID}, {SERIAL}, {ADDRESS}, {GATEWAY}, {DNS} and the names
	// of its "env" in braces.
	Expand   bool `yaml:"expand" json:"expand,omitzero"`
	ModeFile `yaml:",inline"`
}

// ModeFile is a file with its permissions.
type ModeFile struct {
	Content `yaml:",inline"`
	// Mode is the permissions in octal, "0600". Default "0644".
	Mode Mode `yaml:"mode" json:"mode,omitzero"`
}

// Content is what a file holds: an input, or "text".
type Content struct {
	Input `yaml:",inline"`
	// Text is the content itself, for what is short.
	Text Text `yaml:"text" json:"text,omitzero"`
}

// Toolbox is a root file system made of packages. What they depend on comes
// with them; their scripts are not run.
type Toolbox struct {
	// Packages are from the recipe's "apt".
	Packages []string `yaml:"packages" json:"packages"`
	// Files are added, by their paths: "usr/local/bin/repair". They take the place
	// of any other.
	Files map[string]ModeFile `yaml:"files" json:"files,omitzero"`
	// Alternatives are commands by another name: {editor: /usr/bin/nano}.
	Alternatives map[string]string `yaml:"alternatives" json:"alternatives,omitzero"`
	// Drop lists files and folders to leave out: "usr/share/perl".
	Drop []string `yaml:"drop" json:"drop,omitzero"`
}

// MediumToolbox is a toolbox with its place on a medium.
type MediumToolbox struct {
	Toolbox `yaml:",inline"`
	// Place is "memory" (of every machine, from the start; the default) or
	// "medium", which is read on demand and has to stay where it is.
	Place string `yaml:"place" json:"place,omitzero"`
}

// Menu is shown before the list of a machine is tried. It offers that list, and
// then Entries; who does not choose gets the first.
type Menu struct {
	// Seconds is how long a choice is waited for, at most 3600. Default 10.
	Seconds int `yaml:"seconds" json:"seconds,omitzero"`
	// Entries are offered after those of the machine's list.
	Entries []string `yaml:"entries" json:"entries,omitzero"`
}

// Limits tighten what the agent allows itself. Times are in seconds.
type Limits struct {
	// Network is how long the first lease is waited for: 5 to 60, the agent's own.
	Network int `yaml:"network" json:"network,omitzero"`
	// Manifest is for all requests to one site for statements, manifest and
	// document: 5 to 120.
	Manifest int `yaml:"manifest" json:"manifest,omitzero"`
	// Stall is the longest silence within a download: 2 to 30.
	Stall int `yaml:"stall" json:"stall,omitzero"`
	// Object is for the download of one object, 10 or more. The agent itself waits
	// as long as 1 KiB comes each second.
	Object int `yaml:"object" json:"object,omitzero"`
	// Attempts are the requests in a row to one URL that bring nothing new: 1 to 5.
	Attempts int `yaml:"attempts" json:"attempts,omitzero"`
	// Rounds are those that fail before the medium's own entries are tried: 1 to 3.
	Rounds int `yaml:"rounds" json:"rounds,omitzero"`
	// Pause is the longest between two rounds: 1 to 60.
	Pause int `yaml:"pause" json:"pause,omitzero"`
}

// Text is text of several lines.
type Text string

// Size is a number of bytes, written with a unit.
type Size int64

// Mode is the permissions of a file.
type Mode fs.FileMode
