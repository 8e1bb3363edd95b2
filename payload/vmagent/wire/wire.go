// Package wire is what the desk and the agent of "farboot vm" say to each other over
// a virtio-serial port: frames, so that what a program prints, how it ended and what
// goes wrong never mix, with each other or with the kernel's messages.
//
// [Read] reads a frame, [Writer] writes them, from any number of goroutines. The guest
// says [Hello]; the desk answers with an [Order] and with what its user types; the guest
// sends what the program prints, and a [Result] when its disk is unmounted; the desk
// says [Bye], and the guest goes off.
//
// Neither side trusts the other: a frame has a bounded size, and what is no frame ends
// the conversation. There is no secrecy and no proof of who speaks, since both ends are
// on one computer and the port is a socket that QEMU alone has.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Port is the name of the port, as the guest's sysfs shows it.
const Port = "farboot.vm"

// Kind says what a frame holds.
type Kind byte

// Kinds of frames.
const (
	Hello   Kind = iota + 1 // guest: it is up, and has touched no disk
	Start                   // desk: an Order, as JSON
	Stdin                   // desk: bytes; none is the end
	Resize                  // desk: a Size, as JSON
	Stdout                  // guest: bytes
	Stderr                  // guest: bytes
	End                     // guest: a Result, as JSON; the disk is unmounted
	Bye                     // desk: End has arrived
	unknown                 // from here on
)

// MaxData is how many bytes a frame may hold.
const MaxData = 64 << 10

// ErrFrame is wrapped by the error for bytes that are no frame.
var ErrFrame = errors.New("not a frame")

// Size is that of a terminal, in characters.
type Size struct {
	Columns uint16 `json:"columns"`
	Rows    uint16 `json:"rows"`
}

// Order is what the guest is to do.
type Order struct {
	// Args is the command. A name without a slash is looked up in the disk's own
	// folders of programs. None is a shell.
	Args []string `json:"args"`
	// Env is added to what every program finds.
	Env []string `json:"env"`
	// Terminal lets it have one.
	Terminal *Size `json:"terminal"`
	// Partition has the root file system; 0 has the agent find it.
	Partition int `json:"partition"`
	// NoFstab mounts the root file system alone.
	NoFstab bool `json:"no_fstab"`
}

// Result is how it ended.
type Result struct {
	// Status is the command's exit status, 128 and more for signals as in a shell.
	Status int `json:"status"`
	// Error says why there is no status; the disk must not be used then.
	Error string `json:"error"`
}

// Frame is one message.
type Frame struct {
	Kind Kind
	Data []byte
}

// head is a frame's beginning: the kind, and the number of bytes behind it.
const head = 5

// Read reads the next frame. At the end of r between two frames the error is [io.EOF].
func Read(r io.Reader) (Frame, error) {
	var h [head]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	kind, n := Kind(h[0]), binary.BigEndian.Uint32(h[1:])
	if kind == 0 || kind >= unknown || n > MaxData {
		return Frame{}, fmt.Errorf("%w: kind %d with %d bytes", ErrFrame, kind, n)
	}
	f := Frame{kind, make([]byte, n)}
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return Frame{}, fmt.Errorf("%w: it ends within: %w", ErrFrame, err)
	}
	return f, nil
}

// Writer writes frames.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes one frame.
func (w *Writer) Send(kind Kind, data []byte) error {
	if len(data) > MaxData {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, len(data), MaxData)
	}
	f := append(make([]byte, 0, head+len(data)), byte(kind))
	f = append(binary.BigEndian.AppendUint32(f, uint32(len(data))), data...)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(f)
	return err
}

// Stream returns a writer whose bytes go out as frames of a kind.
func (w *Writer) Stream(kind Kind) io.Writer { return stream{w, kind} }

type stream struct {
	w    *Writer
	kind Kind
}

// Write implements [io.Writer]. Nothing is not sent: on some streams it is the end.
func (s stream) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += MaxData {
		if err := s.w.Send(s.kind, p[n:min(n+MaxData, len(p))]); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
