// Package xen says how the Xen hypervisor is put into a machine's memory, so that
// kexec_load(2) can start it: on a BIOS and on UEFI, where no other loader can.
//
// The main call is [New]: from the machine ([ReadMachine]), Xen's own bytes
// ([Unpack]) and the modules it makes a [Plan], which is a list of segments and
// where to begin. The plan promises that each segment lies in what the firmware
// calls RAM, that none overlaps another, that modules are used as they are, and
// that what Xen reads of it is what docs/xen.md says, field by field. Whatever
// cannot be is an error of its own kind before anything is loaded.
//
// It makes no syscalls, and it does not verify bytes: whoever fetched them did.
// What it knows of Xen was measured with 4.17 and read in its source. Multiboot 1
// is not spoken: what needs it cannot be moved out of the way of a reserved range.
package xen

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors of [New], [Check] and [Unpack], about what is to be started.
var (
	// ErrELF says that it is no ELF file for 32 bits, or not a whole one.
	ErrELF = errors.New("malformed hypervisor")
	// ErrHeader says that it has no multiboot2 header, or one that asks for what
	// this loader cannot give.
	ErrHeader = errors.New("no fitting multiboot2 header")
	// ErrLine says that a command line is longer than Xen would read.
	ErrLine = errors.New("command line too long for Xen")
	// ErrModules says that there are too many modules, or that what is to be said
	// of them does not fit into where Xen copies it.
	ErrModules = errors.New("module list too large")
)

// Errors of [New] and [ReadMachine], about the machine.
var (
	// ErrMap says that the firmware's memory map cannot be read or contradicts
	// itself.
	ErrMap = errors.New("unusable memory map")
	// ErrOverlap says that two parts want the same place.
	ErrOverlap = errors.New("overlapping ranges")
	// ErrNotRAM says that where a part has to be there is no RAM.
	ErrNotRAM = errors.New("no RAM there")
	// ErrNoRoom says that a part fits nowhere, or that all together are more than
	// Linux loads.
	ErrNoRoom = errors.New("no room in memory")
	// ErrNoBDA says that UEFI left no room for what a BIOS has below 640 KiB.
	ErrNoBDA = errors.New("no room for a BIOS data area")
	// ErrRSDP says that the root of ACPI's tables is not where Xen could be shown it.
	ErrRSDP = errors.New("no usable ACPI root pointer")
)

const (
	pageSize = 4096
	// maxSegments is KEXEC_SEGMENT_MAX in linux/kexec.h.
	maxSegments = 16
	// maxInfo bounds the information for Xen with all strings, in bytes. Xen copies
	// it below its trampoline, which with its stack has 64 KiB.
	maxInfo = 60 << 10
	// maxLine is how much Xen keeps of its own options (xen_commandline_t in
	// xen/kernel.h) and of dom0's command line (MAX_GUEST_CMDLINE in public/xen.h),
	// less the closing NUL. More is cut without a word.
	maxLine = 1023
	// maxHypervisor bounds Xen's size once unpacked, in bytes. Debian's has 3 MiB.
	maxHypervisor = 64 << 20

	infoFrom    = 1 << 20  // below that a BIOS is at home
	modulesFrom = 16 << 20 // see place
	below2G     = 2 << 30  // code before it leaves 64-bit mode, with room for signs
	// below4G is for all else, for a machine in 32-bit mode; what ends there ends
	// at an address of 32 bits.
	below4G = 4<<30 - pageSize
)

// Config is what is to be started.
type Config struct {
	// Hypervisor is Xen, unpacked.
	Hypervisor []byte
	// Options are Xen's own.
	Options string
	// Modules come in the order that Xen expects: dom0's kernel, its initrd, others.
	Modules []Module
}

// Module is a file for Xen.
type Module struct {
	// Name stands in front of Args. Xen drops it, as it does the first word of
	// every line that does not come from GRUB; it has no blanks.
	Name string
	Args string
	Size int64
}

// Plan is what is to be loaded.
type Plan struct {
	Segments []Segment
	// Entry is where the machine begins, in the state in which Linux leaves it for
	// kexec: 64-bit mode, memory mapped one to one.
	Entry uint64
}

// Segment is one stretch of memory.
type Segment struct {
	// Name is for messages.
	Name string
	// Addr is where it begins, in physical memory, and Size is a multiple of
	// 4096. What Data or the module leaves of it is zero.
	Addr, Size uint64
	Data       []byte
	// Module is the index of the module to put there, where Data is nil.
	Module int
}

// Unpack returns the hypervisor from a file that is gzipped or not.
func Unpack(r io.Reader) ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrELF, err)
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	if head[0] == 0x1f && head[1] == 0x8b { // RFC 1952, section 2.3.1
		unpacked, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrELF, err)
		}
		r = unpacked
	}
	data, err := io.ReadAll(io.LimitReader(r, maxHypervisor+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrELF, err)
	}
	if len(data) > maxHypervisor {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrELF, maxHypervisor)
	}
	return data, nil
}

// Check tells what is wrong with a hypervisor, unpacked, on whatever machine: the
// error wraps [ErrELF] or [ErrHeader].
func Check(hypervisor []byte) error {
	_, header := parseHeader(hypervisor)
	_, elf := parseELF(hypervisor)
	return cmp.Or(header, elf)
}

// New plans the start of c on the machine m.
func New(m Machine, c Config) (*Plan, error) {
	head, err := parseHeader(c.Hypervisor)
	if err != nil {
		return nil, err
	}
	image, err := parseELF(c.Hypervisor)
	if err != nil {
		return nil, err
	}
	i := info{screen: m.Screen, options: c.Options, modules: make([]moduleInfo, len(c.Modules))}
	for n, module := range c.Modules {
		if module.Size < 1 {
			return nil, fmt.Errorf("%w: %s is empty", ErrModules, module.Name)
		}
		i.modules[n] = moduleInfo{line: strings.TrimSpace(module.Name + " " + module.Args)}
	}
	p := &placer{memory: m.Memory}
	t := trampoline{}
	if m.EFI {
		rsdp, err := p.shim(m)
		if err != nil {
			return nil, err
		}
		t.rsdpFrom, t.rsdpTo = uint32(m.RSDP), rsdp
		i.forUEFI(m.RSDP)
	}
	i.memory, i.lower = p.memory, p.lower()
	if err := i.check(); err != nil {
		return nil, err
	}
	return p.plan(c, image, head, i, t)
}

// plan finds a place for each part.
func (p *placer) plan(c Config, image *image, head *header, i info, t trampoline) (*Plan, error) {
	// What has no choice comes first. The info is as long before its addresses
	// are known, if it is known whether Xen is moved.
	delta, err := p.image(c.Hypervisor, image, head)
	if err != nil {
		return nil, err
	}
	if delta != 0 {
		i.base = uint32(image.base() + delta)
	}
	size := uint64(len(i.encode()))
	if size > maxInfo {
		return nil, fmt.Errorf("%w: %d bytes of information, Xen has room for %d", ErrModules, size, maxInfo)
	}
	infoAt, err := p.lowest("information", size, pageSize, infoFrom, below2G)
	if err != nil {
		return nil, err
	}
	codeAt, err := p.lowest("trampoline", pageSize, pageSize, infoFrom, below2G)
	if err != nil {
		return nil, err
	}
	for n, m := range c.Modules {
		at, err := p.lowest(m.Name, uint64(m.Size), pageSize, modulesFrom, below4G)
		if err != nil {
			return nil, err
		}
		i.modules[n].start, i.modules[n].end = uint32(at), uint32(at+uint64(m.Size))
		p.segments = append(p.segments, Segment{Name: m.Name, Addr: at, Size: pages(uint64(m.Size)), Module: n})
	}
	t.info, t.entry = uint32(infoAt), image.entry+uint32(delta)
	p.segments = append(p.segments,
		Segment{Name: "information", Addr: infoAt, Size: pages(size), Data: i.encode()},
		Segment{Name: "trampoline", Addr: codeAt, Size: pageSize, Data: t.encode()})
	if err := p.check(); err != nil {
		return nil, err
	}
	return &Plan{Segments: p.segments, Entry: codeAt}, nil
}

// pages rounds up to whole pages.
func pages(n uint64) uint64 { return (n + pageSize - 1) / pageSize * pageSize }
