package cast

import (
	"encoding/binary"
	"errors"
)

// PieceSize is how many bytes of a packed chunk a frame carries; the last one of a
// chunk has what is left. With the frame's head, UDP and IPv4 that makes 1452 bytes,
// which fits Ethernet, also behind PPPoE.
const PieceSize = 1400

// MaxFrame is the most that a frame has, in bytes.
const MaxFrame = headSize + PieceSize

// Session names an image on the wire: the first bytes of the SHA-256 of its index, as
// package caibx writes it.
type Session [8]byte

// A frame is one UDP packet. Numbers are big-endian:
//
//	0   "fcst"
//	4   1, the version
//	5   1 is a piece of a chunk, 2 a word of the sender
//	6   0, 0
//	8   session
//	16  piece: number of the chunk, uint32     word: state, uint8
//	                                           17    pass, uint8, from 1; 0 before the first
//	                                           18    TCP port for reports, uint16; 0 is none
//	20  piece: number of the piece in it       20    0, 0, 0, 0
//	24  piece: the bytes, 1 to 1400            (ends)
//
// Who reads it knows by the signed table how many pieces a chunk has and how long each
// is. The two bytes at 6 are kept for parity.
const (
	magic    = "fcst"
	version  = 1
	headSize = 24

	kindPiece = 1
	kindWord  = 2
)

// ErrFrame is the error of [DecodeFrame].
var ErrFrame = errors.New("not a frame of a cast")

// State is what a sender does.
type State uint8

// States of a sender.
const (
	// Waiting for machines.
	Waiting State = 1 + iota
	// Sending a pass.
	Sending
	// Asking after a pass what is still missing.
	Asking
	// Over: nothing more will come.
	Over
)

// Frame is one packet: a piece where Data is not nil, otherwise a word.
type Frame struct {
	Session Session
	// Chunk and Piece say where Data belongs.
	Chunk, Piece uint32
	Data         []byte
	Word         Word
}

// Word is what a sender says of itself, once a second.
type Word struct {
	State State
	// Pass is the number of the pass that it sends or has sent.
	Pass uint8
	// Port is where it takes reports, by HTTP; 0 is nowhere.
	Port uint16
}

// Append appends the frame as it is sent.
func (f Frame) Append(b []byte) []byte {
	kind := byte(kindPiece)
	if f.Data == nil {
		kind = kindWord
	}
	b = append(append(b, magic...), version, kind, 0, 0)
	b = append(b, f.Session[:]...)
	if kind == kindWord {
		b = append(b, byte(f.Word.State), f.Word.Pass)
		b = binary.BigEndian.AppendUint16(b, f.Word.Port)
		return append(b, 0, 0, 0, 0)
	}
	b = binary.BigEndian.AppendUint32(b, f.Chunk)
	b = binary.BigEndian.AppendUint32(b, f.Piece)
	return append(b, f.Data...)
}

// DecodeFrame reads a packet. The frame's Data is a part of it.
func DecodeFrame(packet []byte) (f Frame, err error) {
	n := len(packet)
	if n < headSize || n > MaxFrame || string(packet[:4]) != magic || packet[4] != version || packet[6] != 0 || packet[7] != 0 {
		return Frame{}, ErrFrame // as it is: strangers may send very many
	}
	f.Session = Session(packet[8:16])
	switch kind := packet[5]; {
	case kind == kindPiece && n > headSize:
		f.Chunk, f.Piece = binary.BigEndian.Uint32(packet[16:]), binary.BigEndian.Uint32(packet[20:])
		f.Data = packet[headSize:]
	case kind == kindWord && n == headSize && binary.BigEndian.Uint32(packet[20:]) == 0:
		f.Word = Word{State(packet[16]), packet[17], binary.BigEndian.Uint16(packet[18:])}
		if f.Word.State < Waiting || f.Word.State > Over {
			return Frame{}, ErrFrame
		}
	default:
		return Frame{}, ErrFrame
	}
	return f, nil
}
