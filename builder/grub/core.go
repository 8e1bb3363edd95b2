package grub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/farboot/farboot/builder/initramfs/xz"
)

// Places in memory of GRUB's i386-pc images (include/grub/offsets.h and
// util/mkimage.c of GRUB 2.06).
const (
	linkAddress = 0x9000 // the decompressed kernel, and the image's own end
	// maxDecompressor keeps the decompressor, loaded at 0x8200, below the
	// address to which it unpacks.
	maxDecompressor = linkAddress - 0x8200
	// maxKernelEnd keeps the kernel with its bss below the real mode stack.
	maxKernelEnd = 0x68000
	// MaxCore is the most that decompressor and compressed payload may take, in
	// bytes: 454,656. The BIOS's own data starts above.
	MaxCore = 0x78000 - linkAddress
)

// Offsets of the fields that are filled in here.
const (
	compressedAt   = 0x08  // in lzma_decompress.img, u32
	uncompressedAt = 0x0c  // in lzma_decompress.img, u32
	blockLengthAt  = 0x1fc // in diskboot.img, u16: how many sectors to load
	blockSegmentAt = 0x1fe // in diskboot.img, u16, preset
	blockSegment   = 0x820
)

const sectorSize = 512

// CoreConfig says what goes into a core image.
type CoreConfig struct {
	// Modules are names without ".mod". What they need comes along.
	Modules []string
	// Prefix is where GRUB looks for grub.cfg, without a device: "/boot/grub".
	Prefix string
	// Config is run before anything else, see [EarlyConfig]. It may be empty.
	Config string
}

// Core builds the image with which a BIOS starts GRUB from an ISO: as El Torito
// boot image from a CD, and from its second 2 KiB block on, by way of the MBR
// of [HybridMBR], from a stick. It is what "grub-mkimage -O i386-pc-eltorito"
// makes. src holds the files of usr/lib/grub/i386-pc from the package
// grub-pc-bin.
//
// The image is not ready yet: once its place on the medium is known,
// [PatchBootInfo] fills in the rest.
func Core(src fs.FS, c CoreConfig) ([]byte, error) {
	prepared, err := Prepare(src, c)
	if err != nil {
		return nil, err
	}
	return Finish(prepared, c)
}

// prepared is a core image whose payload lacks its tail.
type prepared struct {
	CDBoot, Diskboot, Decompressor []byte
	Size, Tail                     int    // of the payload without tail, of the tail; in bytes
	Stream                         []byte // xz.Begin's
}

// Prepare does the part of [Core] that takes long, to compress the payload, for
// any number of calls of [Finish] with texts that are as long as those of c.
func Prepare(src fs.FS, c CoreConfig) ([]byte, error) {
	if err := checkVersion(src); err != nil {
		return nil, err
	}
	if err := checkCoreConfig(c); err != nil {
		return nil, err
	}
	boot, err := readBootCode(src)
	if err != nil {
		return nil, err
	}
	tail := len(c.tail())
	payload, err := buildPayload(src, c.Modules, tail)
	if err != nil {
		return nil, err
	}
	return json.Marshal(prepared{boot.cdboot, boot.diskboot, boot.decompressor, len(payload), tail, xz.Begin(payload)})
}

// Finish makes the core image of what [Prepare] returned. The modules of c do
// not count any more.
func Finish(from []byte, c CoreConfig) ([]byte, error) {
	if err := checkCoreConfig(c); err != nil {
		return nil, err
	}
	var p prepared
	if err := json.Unmarshal(from, &p); err != nil {
		return nil, fmt.Errorf("grub: prepared core image: %w", err)
	}
	tail := c.tail()
	if len(tail) != p.Tail {
		return nil, fmt.Errorf("grub: core image prepared for a tail of %d bytes, not %d", p.Tail, len(tail))
	}
	packed, err := xz.Finish(p.Stream, tail)
	if err != nil {
		return nil, fmt.Errorf("grub: compressing the core image: %w", err)
	}
	return bootCode{p.CDBoot, p.Diskboot, p.Decompressor}.assemble(packed, p.Size+len(tail))
}

// knownVersion is what this package was checked against. Another may lay its
// images out differently, and a wrong image shows as a machine that hangs.
const knownVersion = "2.06"

var versionLine = regexp.MustCompile(`(?m)^grub_version="([^"]*)"$`)

// checkVersion refuses the files of a GRUB that this package does not know.
func checkVersion(src fs.FS) error {
	info, err := fs.ReadFile(src, "modinfo.sh")
	if err != nil {
		return fmt.Errorf("grub: version unknown: %w", err)
	}
	m := versionLine.FindSubmatch(info)
	if m == nil {
		return errors.New("grub: modinfo.sh names no version")
	}
	if string(m[1]) != knownVersion {
		return fmt.Errorf("grub: version %q: only %s is supported (Debian 12)", m[1], knownVersion)
	}
	return nil
}

// bootCode is what stands before the packed payload.
type bootCode struct {
	cdboot, diskboot, decompressor []byte
}

// readBootCode reads the three images after a look at their sizes and preset
// fields.
func readBootCode(src fs.FS) (bootCode, error) {
	cdboot, err := readSized(src, "cdboot.img", DiskbootOffset)
	if err != nil {
		return bootCode{}, err
	}
	diskboot, err := readSized(src, "diskboot.img", sectorSize)
	if err != nil {
		return bootCode{}, err
	}
	if got := binary.LittleEndian.Uint16(diskboot[blockSegmentAt:]); got != blockSegment {
		return bootCode{}, fmt.Errorf("grub: diskboot.img: loads to segment %#x, want %#x", got, blockSegment)
	}
	decompressor, err := readDecompressor(src)
	if err != nil {
		return bootCode{}, err
	}
	return bootCode{cdboot, diskboot, decompressor}, nil
}

// assemble fills in the fields that depend on the packed payload and joins all.
// size is the payload's length before packing.
func (b bootCode) assemble(packed []byte, size int) ([]byte, error) {
	core := len(b.decompressor) + len(packed)
	if core > MaxCore {
		return nil, fmt.Errorf("grub: core image has %d bytes, at most %d can be loaded: take fewer modules", core, MaxCore)
	}
	le := binary.LittleEndian
	le.PutUint32(b.decompressor[compressedAt:], uint32(len(packed)))
	le.PutUint32(b.decompressor[uncompressedAt:], uint32(size))
	le.PutUint16(b.diskboot[blockLengthAt:], uint16((core+sectorSize-1)/sectorSize))
	return bytes.Join([][]byte{b.cdboot, b.diskboot, b.decompressor, packed}, nil), nil
}

// readDecompressor returns lzma_decompress.img after a look at its fields.
func readDecompressor(src fs.FS) ([]byte, error) {
	img, err := fs.ReadFile(src, "lzma_decompress.img")
	if err != nil {
		return nil, fmt.Errorf("grub: %w", err)
	}
	if len(img) < sectorSize || len(img) > maxDecompressor {
		return nil, fmt.Errorf("grub: lzma_decompress.img: %d bytes, want %d to %d", len(img), sectorSize, maxDecompressor)
	}
	// A far jump, then the fields: both sizes and the redundancy are zero, the
	// boot device is "none".
	if img[0] != 0xea || !bytes.Equal(img[compressedAt:0x14], make([]byte, 12)) || !bytes.Equal(img[0x18:0x1b], []byte{0xff, 0xff, 0xff}) {
		return nil, errors.New("grub: lzma_decompress.img: fields are not where GRUB 2.06 has them")
	}
	return img, nil
}

// readSized reads a file that must have exactly size bytes.
func readSized(src fs.FS, name string, size int) ([]byte, error) {
	data, err := fs.ReadFile(src, name)
	if err != nil {
		return nil, fmt.Errorf("grub: %w", err)
	}
	if len(data) != size {
		return nil, fmt.Errorf("grub: %s: %d bytes, want %d", name, len(data), size)
	}
	return data, nil
}
