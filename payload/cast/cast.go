// Package cast receives an image that somebody sends to a whole room at once, by UDP
// multicast.
//
// A sender (package builder/cast) sends the chunks of one seekable Zstandard file,
// packed as they are, in frames of up to [PieceSize] bytes. [Listen] joins the group,
// [New] makes a [Receiver], and [Receiver.Receive] hands on chunks in whatever order
// they come. What is lost on the way is asked for by HTTP Range, of the very file that
// is being cast: missing pieces of chunks that came in part, and whole chunks once the
// sender is done or dead, or was never there.
//
// It promises that no byte is handed on that the signed index does not vouch for,
// whoever sent it; that everyone finishes who can reach a site with the file, whatever
// the sender does; that a forged packet costs at most the repair of its chunk, by HTTP
// and once; and that memory and time are bounded by [Limits]. A receiver that is too
// slow loses packets, and keeps nobody up.
//
// It does not encrypt: who is in the network sees the image, as by plain HTTP. It does
// not know who sends: what [Status] reports go to is the address that frames come from.
package cast

import (
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

var (
	// ErrImage: the index, the table and the file do not go together.
	ErrImage = errors.New("image cannot be cast")
	// ErrStalled: for a long time no chunk came, neither by the cast nor by HTTP.
	ErrStalled = fmt.Errorf("no chunk came: %w", fetch.ErrUnreachable)
)

// Limits bound what a [Receiver] takes, and how long it waits. Start from
// [DefaultLimits].
type Limits struct {
	// Memory is how many bytes of packed chunks are held that are not whole, or not
	// yet unpacked. What comes while there is no room is lost, and comes again. Each
	// of Workers and Repairs has two chunks more, unpacked and packed.
	Memory int64
	// Open is how many chunks may be held in part.
	Open int
	// Socket is how many bytes the kernel holds of what has come, its own overhead
	// included: at 1 Gbit/s 32 MiB are 0.2 s, as long as a disk may be busy.
	Socket int
	// Workers unpack and check chunks and hand them on, Repairs ask for what is
	// missing.
	Workers, Repairs int
	// Request is how many bytes of packed chunks that nobody casts any more are
	// asked for at a time.
	Request int64
	// Settle is after how long without a piece of it a chunk counts as sent: its
	// pieces come one after the other.
	Settle time.Duration
	// Join is how long a first sign of a sender is waited for, and Quiet is after how
	// long without any a sender is dead. Both only decide who is asked.
	// A sender that says it is over is believed after Over: its words come once a
	// second, and those of a liar among them.
	Join, Quiet, Over time.Duration
	// Patience is how long a sender that sends is waited for without a chunk of any
	// use, and Wait the same of one that says it waits for others.
	Patience, Wait time.Duration
	// Stall is after how long without any chunk Receive fails.
	Stall time.Duration
	// Post is the time between two reports to the sender.
	Post time.Duration
}

// DefaultLimits returns the limits of an agent.
func DefaultLimits() Limits {
	return Limits{
		Memory: 32 << 20, Open: 256, Socket: 32 << 20, Workers: 2, Repairs: 3, Request: 4 << 20,
		Settle: 150 * time.Millisecond, Join: 20 * time.Second, Quiet: 5 * time.Second, Over: 2 * time.Second,
		Patience: 20 * time.Second, Wait: 15 * time.Minute, Stall: 10 * time.Minute, Post: 2 * time.Second,
	}
}

// Image is what is cast: a seekable file of which each chunk is known by its hash.
type Image struct {
	// Index and Table are from signed bytes.
	Index *caibx.Index
	Table chunks.Table
	// File is the file on the sites.
	File object.Ref

	session Session
	starts  []int64 // where chunks begin in the file, and where the last one ends
}

// NewImage returns an image of which all parts fit.
func NewImage(x *caibx.Index, t chunks.Table, file object.Ref) (*Image, error) {
	index, err := x.Encode()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	case len(t) != len(x.Chunks):
		return nil, fmt.Errorf("%w: a table of %d chunks for an index of %d", ErrImage, len(t), len(x.Chunks))
	case t.FileSize() != file.Size:
		return nil, fmt.Errorf("%w: by its table the file has %d bytes, want %d", ErrImage, t.FileSize(), file.Size)
	}
	id := object.OfBytes(index).SHA256
	img := &Image{Index: x, Table: t, File: file, session: Session(id[:]), starts: make([]int64, 1, len(t)+1)}
	for i, n := range t {
		img.starts = append(img.starts, img.starts[i]+n)
	}
	return img, nil
}

// Session names the image on the wire.
func (img *Image) Session() Session { return img.session }

// Start is where chunk i begins in the file; the last one ends where the one behind it
// would begin.
func (img *Image) Start(i int) int64 { return img.starts[i] }

// Pieces is how many pieces chunk i has.
func (img *Image) Pieces(i int) int { return int((img.Table[i] + PieceSize - 1) / PieceSize) }

// piece returns where in its chunk a piece lies.
func (img *Image) piece(i, k int) (from, to int64) {
	from = int64(k) * PieceSize
	return from, min(from+PieceSize, img.Table[i])
}
