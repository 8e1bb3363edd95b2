package trust

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// OpenPGP packet types (RFC 9580, section 5) that are told apart here.
const (
	tagSignature    = 2
	tagSecretKey    = 5
	tagPublicKey    = 6
	tagSecretSubkey = 7
	tagUserID       = 13
	tagPublicSubkey = 14
)

// rawPacket is one OpenPGP packet with its header.
type rawPacket struct {
	tag byte
	raw []byte
}

var errFraming = errors.New("not a sequence of OpenPGP packets")

// splitPackets cuts data into its packets and refuses whatever is not one:
// libraries skip what they do not know, and what is skipped is unsigned room
// for somebody else. Packets of partial or indeterminate length are refused
// too; no key and no signature needs them.
func splitPackets(data []byte) ([]rawPacket, error) {
	var packets []rawPacket
	for len(data) > 0 {
		header, body, err := packetLength(data)
		if err != nil {
			return nil, err
		}
		if body > uint64(len(data)-header) {
			return nil, fmt.Errorf("%w: cut off", errFraming)
		}
		n := header + int(body)
		tag := data[0] & 0x3f
		if data[0]&0x40 == 0 {
			tag >>= 2
		}
		packets = append(packets, rawPacket{tag: tag, raw: data[:n:n]})
		data = data[n:]
	}
	return packets, nil
}

// packetLength returns the lengths of the header and of the body of the packet
// that data begins with (RFC 9580, sections 4.2.1 and 4.2.2).
func packetLength(data []byte) (header int, body uint64, err error) {
	if data[0]&0x80 == 0 {
		return 0, 0, errFraming
	}
	// As long as the longest header, so that the cases below stay in bounds.
	var h [6]byte
	n := copy(h[:], data)
	switch first := h[1]; {
	case h[0]&0x43 == 0x03:
		return 0, 0, fmt.Errorf("%w: indeterminate length", errFraming)
	case h[0]&0x43 == 0x00, h[0]&0x40 != 0 && first < 192:
		header, body = 2, uint64(first)
	case h[0]&0x43 == 0x01:
		header, body = 3, uint64(binary.BigEndian.Uint16(h[1:]))
	case h[0]&0x43 == 0x02:
		header, body = 5, uint64(binary.BigEndian.Uint32(h[1:]))
	case first < 224:
		header, body = 3, uint64(first-192)<<8+uint64(h[2])+192
	case first == 255:
		header, body = 6, uint64(binary.BigEndian.Uint32(h[2:]))
	default:
		return 0, 0, fmt.Errorf("%w: partial length", errFraming)
	}
	if header > n {
		return 0, 0, fmt.Errorf("%w: cut off", errFraming)
	}
	return header, body, nil
}
