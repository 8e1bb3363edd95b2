package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/password"
)

// Live makes a system that stays of a toolbox: with services, with people who
// log in, and where a Xen hypervisor runs, with machines of its own.
type Live struct {
	// Toolbox is the system's root file system; nil is the medium's own.
	Toolbox *object.Ref `json:"toolbox,omitzero"`
	// Hostname is the system's name; empty is "farboot".
	Hostname string `json:"hostname,omitzero"`
	// Timezone is a file below /usr/share/zoneinfo, "Europe/Vienna"; empty is UTC.
	Timezone string `json:"timezone,omitzero"`
	// Bridge is the name of a bridge over the card that has the network. The
	// machines are on it. Empty is none, and the machines have no network.
	Bridge string `json:"bridge,omitzero"`
	// Password lets root log in on the consoles: as crypt(5) has it, "$6$...".
	// Empty is nobody.
	Password string `json:"password,omitzero"`
	// SSH lets people in over the network; nil is nobody.
	SSH *LiveSSH `json:"ssh,omitzero"`
	// Services are programs that run as long as the system does, started in this
	// order, after those that Xen needs.
	Services []Service `json:"services,omitzero"`
	// Machines are started in this order, once the services run.
	Machines []Guest `json:"machines,omitzero"`
	// Storage starts as well what lies on the machine's disks in folders called
	// [StorageFolder]: nobody signs that.
	Storage bool `json:"storage,omitzero"`
	// Words of the kernel's command line that count: some of [LiveWords].
	Words []string `json:"words,omitzero"`
}

// StorageFolder is where files for "xl create" lie on a disk, *.cfg.
const StorageFolder = "farboot-machines"

// LiveSSH says who may log in to a live system over the network.
type LiveSSH struct {
	// Keys are lines as in OpenSSH's authorized_keys, without options.
	Keys []string `json:"keys"`
	// Port is the TCP port; 0 is 22.
	Port int `json:"port,omitzero"`
}

// ListenPort is the TCP port.
func (x *LiveSSH) ListenPort() int { return cmp.Or(x.Port, 22) }

// Service is a program that runs as long as a live system.
type Service struct {
	Name string `json:"name"`
	// Program is its path in the toolbox. It stays in the foreground.
	Program string   `json:"program"`
	Args    []string `json:"args,omitzero"`
	// Restart starts it again whenever it ends.
	Restart bool `json:"restart,omitzero"`
}

// Guest is a machine that Xen runs beside the live system, a domU.
type Guest struct {
	Name string `json:"name"`
	// Type is "pv", which every processor can do, or "pvh", which takes one that
	// can virtualise; empty is "pv".
	Type   string       `json:"type,omitzero"`
	Kernel object.Ref   `json:"kernel"`
	Initrd []object.Ref `json:"initrd,omitzero"` // put together into one
	// Disk is an image that becomes xvda. What the machine writes to it is in
	// memory, and gone with the live system.
	Disk    *object.Ref `json:"disk,omitzero"`
	Cmdline string      `json:"cmdline"`
	Memory  int         `json:"memory"` // in MiB
	VCPUs   int         `json:"vcpus,omitzero"`
	// MAC is its card's on the bridge; empty is one that Xen makes up.
	MAC string `json:"mac,omitzero"`
}

// LiveWords are words of the kernel's command line that a live entry may let
// change it, each written "farboot.live.WORD=...".
func LiveWords() []string { return []string{"hostname", "network", "password", "ssh", "timezone"} }

func (x *Live) kind() string { return "live" }
func (x *Live) then() string { return "" } // it goes on until somebody ends it
func (x *Live) refs() []object.Ref {
	all := optional(x.Toolbox)
	for _, m := range x.Machines {
		all = append(append(append(all, m.Kernel), m.Initrd...), optional(m.Disk)...)
	}
	return all
}

func (x *Live) validate(b Bounds) error {
	if len(x.Services) > b.Services || len(x.Machines) > b.Guests {
		return fmt.Errorf("%d services and %d machines, at most %d and %d", len(x.Services), len(x.Machines), b.Services, b.Guests)
	}
	seen := map[string]bool{}
	for _, s := range x.Services {
		if err := CheckService(s); err != nil || seen[s.Name] {
			return fmt.Errorf("service %+q: %w", clip(s.Name), cmp.Or(err, errTwice))
		}
		seen[s.Name] = true
	}
	clear(seen)
	for _, g := range x.Machines {
		if err := g.validate(b); err != nil || seen[g.Name] {
			return fmt.Errorf("machine %+q: %w", clip(g.Name), cmp.Or(err, errTwice))
		}
		seen[g.Name] = true
	}
	if x.SSH != nil {
		if err := CheckKeys(x.SSH.Keys); err != nil {
			return fmt.Errorf("ssh: %w", err)
		}
		if x.SSH.Port < 0 || x.SSH.Port > 65535 {
			return fmt.Errorf("ssh: port %d, want 1 to 65535", x.SSH.Port)
		}
	}
	return cmp.Or(checkToolbox(x.Toolbox), CheckHostname(x.Hostname), CheckTimezone(x.Timezone), CheckBridge(x.Bridge),
		CheckPassword(x.Password), CheckWords(x.Words))
}

// errTwice says that a name stands twice in a list.
var errTwice = errors.New("stands twice")

func (g Guest) validate(b Bounds) error {
	if err := checkRef(g.Kernel, b.Kernel); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if len(g.Initrd) > b.Initrds {
		return fmt.Errorf("%d initrds, at most %d", len(g.Initrd), b.Initrds)
	}
	for i, ref := range g.Initrd {
		if err := checkRef(ref, b.Initrd); err != nil {
			return fmt.Errorf("initrd %d: %w", i+1, err)
		}
	}
	if g.Disk != nil {
		if err := checkRef(*g.Disk, b.Image); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
	}
	return CheckGuest(g)
}

// CheckGuest tells what is wrong with a machine, but for its objects.
func CheckGuest(g Guest) error {
	b := DefaultBounds()
	switch {
	case !slices.Contains([]string{"", "pv", "pvh"}, g.Type):
		return fmt.Errorf(`type %+q: want "pv" or "pvh"`, clip(g.Type))
	case g.Memory < b.GuestMemory || g.Memory > b.GuestMemoryMax:
		return fmt.Errorf("memory of %d MiB, want %d to %d", g.Memory, b.GuestMemory, b.GuestMemoryMax)
	case g.VCPUs < 0 || g.VCPUs > b.VCPUs:
		return fmt.Errorf("%d processors, want 1 to %d", g.VCPUs, b.VCPUs)
	case g.MAC != "" && CheckMatch(Match{MAC: g.MAC}) != nil:
		return fmt.Errorf("mac: %w", CheckMatch(Match{MAC: g.MAC}))
	}
	return cmp.Or(CheckName(g.Name), CheckCmdline(g.Cmdline))
}

// CheckService tells what is wrong with a service.
func CheckService(s Service) error {
	if err := checkText(s.Program, maxPath); err != nil || !path.IsAbs(s.Program) || path.Clean(s.Program) != s.Program {
		return fmt.Errorf("program %+q: want an absolute path in the toolbox", clip(s.Program))
	}
	return cmp.Or(CheckName(s.Name), CheckArgs(s.Args))
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// CheckHostname tells what is wrong with a host's name (RFC 1123, section 2.1),
// dots included; "" is none.
func CheckHostname(s string) error {
	if s == "" {
		return nil
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(s) > 64 || strings.Trim(label, letters+digits+"-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("hostname %+q: want letters, digits and '-', at most 64 (HOST_NAME_MAX)", clip(s))
		}
	}
	return nil
}

// CheckTimezone tells what is wrong with the name of a time zone; "" is UTC.
func CheckTimezone(s string) error {
	if s != "" && (len(s) > 64 || path.IsAbs(s) || path.Clean(s) != s || strings.HasPrefix(s, ".") || strings.Trim(s, letters+digits+"/_+-") != "") {
		return fmt.Errorf(`timezone %+q: want one like "Europe/Vienna"`, clip(s))
	}
	return nil
}

// CheckBridge tells what is wrong with a bridge's name; "" is none.
func CheckBridge(s string) error {
	if s != "" && (len(s) > 15 || strings.Trim(s, letters+digits) != "" || !strings.Contains(letters, s[:1])) {
		return fmt.Errorf(`bridge %+q: want one like "xenbr0", at most 15 letters and digits (IFNAMSIZ)`, clip(s))
	}
	return nil
}

// CheckPassword tells what is wrong with the hash of a password, without quoting
// it: somebody may have written the password itself. "" is none.
func CheckPassword(s string) error {
	if s == "" {
		return nil
	}
	_, err := password.Parse(s)
	return err
}

// CheckWords tells what is wrong with the list of words that may be used.
func CheckWords(words []string) error {
	for i, w := range words {
		if !slices.Contains(LiveWords(), w) || slices.Contains(words[:i], w) {
			return fmt.Errorf("word %+q: want some of %s, each once", clip(w), strings.Join(LiveWords(), ", "))
		}
	}
	return nil
}
