package xen

import "encoding/binary"

// Screen is a framebuffer, as UEFI's GOP leaves it.
type Screen struct {
	Base                 uint32 // physical address
	Width, Height, Depth uint16 // pixels, and bits of each
	Pitch                uint16 // bytes in a line
	// Colors are sizes and positions of red, green, blue and what is left, in
	// bits, in the order of screen_info and of VBE.
	Colors [8]byte
}

// Places in struct screen_info (include/uapi/linux/screen_info.h), with which
// struct boot_params begins.
const (
	screenInfo = 0x40 // bytes
	screenEFI  = 0x70 // VIDEO_TYPE_EFI
)

// parseScreen reads the screen out of the kernel's boot parameters. It returns nil
// where there is none of UEFI, or it is none that VBE can describe, as above 4 GiB:
// a machine without a picture is better than one that does not start.
func parseScreen(params []byte) *Screen {
	if len(params) < screenInfo {
		return nil
	}
	le := binary.LittleEndian
	s := &Screen{
		Base:  le.Uint32(params[0x18:]),
		Width: le.Uint16(params[0x12:]), Height: le.Uint16(params[0x14:]), Depth: le.Uint16(params[0x16:]),
		Pitch: le.Uint16(params[0x24:]), Colors: [8]byte(params[0x26:0x2e]),
	}
	if params[0x0f] != screenEFI || le.Uint32(params[0x3a:]) != 0 || s.Base == 0 {
		return nil
	}
	bytes := uint64(s.Pitch) * uint64(s.Height)
	if s.Width == 0 || s.Height == 0 || s.Depth < 8 || s.Depth > 32 || uint64(s.Width)*uint64(s.Depth) > uint64(s.Pitch)*8 || uint64(s.Base)+bytes > below4G {
		return nil
	}
	return s
}

// vbe returns the screen as the answers of a VESA BIOS (VBE 3.0, functions 00h and
// 01h), which is the form of a framebuffer that Xen and dom0 take.
func (s *Screen) vbe() []byte {
	le := binary.LittleEndian
	// Mode, segment, offset and length of the protected mode interface: none.
	out := make([]byte, 8+512+256)
	control, mode := out[8:8+512], out[8+512:]
	copy(control, "VESA")
	le.PutUint16(control[4:], 0x300)                                                  // version 3
	le.PutUint16(control[18:], uint16((uint32(s.Pitch)*uint32(s.Height)+0xffff)>>16)) // in 64 KiB
	le.PutUint16(mode[0:], 0x9b)                                                      // supported, colour, graphics, linear
	le.PutUint16(mode[16:], s.Pitch)
	le.PutUint16(mode[18:], s.Width)
	le.PutUint16(mode[20:], s.Height)
	mode[25] = byte(s.Depth)
	copy(mode[31:], s.Colors[:])
	le.PutUint32(mode[40:], s.Base)
	return out
}
