package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// A frame is, with little-endian numbers:
//
//	bytes   content
//	0-7     magic
//	8-15    sequence number, 1 to 2^64-2: the higher frame is the newer
//	16-19   length of the JSON
//	20-51   SHA-256 of bytes 0-19 and the JSON
//	52-     the JSON; what follows it does not count
const (
	magic      = "farboot\x01"
	sumOffset  = 20
	headerSize = sumOffset + sha256.Size
)

// Seal returns the frame of s.
func Seal(s State, sequence uint64) ([]byte, error) {
	data, err := Encode(s)
	if err != nil {
		return nil, err
	}
	if !isSequence(sequence) {
		return nil, fmt.Errorf("%w: sequence number %d", ErrMalformed, sequence)
	}
	frame := make([]byte, headerSize, headerSize+len(data))
	copy(frame, magic)
	binary.LittleEndian.PutUint64(frame[8:], sequence)
	binary.LittleEndian.PutUint32(frame[16:], uint32(len(data)))
	frame = append(frame, data...)
	sum := sumOf(frame)
	copy(frame[sumOffset:], sum[:])
	return frame, nil
}

// Unseal reads what Seal wrote, of which every changed byte is an error.
func Unseal(frame []byte) (s State, sequence uint64, err error) {
	fail := func(what string) (State, uint64, error) {
		return State{}, 0, fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	if len(frame) < headerSize || string(frame[:8]) != magic {
		return fail("no frame")
	}
	length := int64(binary.LittleEndian.Uint32(frame[16:]))
	if length > MaxSize || length > int64(len(frame)-headerSize) {
		return fail("frame is cut off")
	}
	frame = frame[:headerSize+length]
	if sum := sumOf(frame); !bytes.Equal(sum[:], frame[sumOffset:headerSize]) {
		return fail("frame is damaged")
	}
	if sequence = binary.LittleEndian.Uint64(frame[8:]); !isSequence(sequence) {
		return fail("no sequence number")
	}
	if s, err = Decode(frame[headerSize:]); err != nil {
		return State{}, 0, err
	}
	return s, sequence, nil
}

// isSequence tells whether n is a sequence number and has another after it.
func isSequence(n uint64) bool { return n > 0 && n < math.MaxUint64 }

// sumOf hashes a frame, all but the hash itself.
func sumOf(frame []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(frame[:sumOffset])
	h.Write(frame[headerSize:])
	return [sha256.Size]byte(h.Sum(nil))
}
