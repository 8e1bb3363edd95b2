package cast

import (
	"math/bits"
	"time"
)

// state is what is known of a chunk.
type state uint8

const (
	unwanted state = iota // or handed on
	missing               // nothing of it is here
	arriving              // a part of it is
	busy                  // it is being checked, or asked for
	tainted               // missing, and not to be had from the cast: what came was forged
)

// part is a chunk of which something came.
type part struct {
	chunk int
	data  []byte
	have  []uint64 // a bit for each piece
	got   int      // pieces
	last  time.Time
	fixed bool // the rest of it came by HTTP
}

// book is what a receiver knows of the chunks. It has no clock and starts nothing.
type book struct {
	img    *Image
	limits Limits

	state []state // of each chunk
	left  int     // how many are wanted and were not handed on
	total int     // how many were

	open   map[int]*part // what arrives
	memory int64         // bytes of all parts
	fixing int64         // of those in torn, and being repaired
	full   []*part       // whole, to be checked
	torn   []*part       // to be repaired
	forged []int         // tainted chunks
	cursor int           // where to look for what is missing

	pieces, lost int64 // see Status
}

// newBook returns a book in which nothing is wanted.
func newBook(img *Image, l Limits) *book {
	return &book{img: img, limits: l, state: make([]state, len(img.Table)), open: map[int]*part{}}
}

// want makes chunks missing.
func (b *book) want(want func(i int) bool) {
	for i := range b.state {
		if want(i) {
			b.state[i] = missing
			b.left++
		}
	}
	b.total = b.left
}

// take takes a piece. It tells whether it was of a chunk that is wanted.
func (b *book) take(f Frame, now time.Time) bool {
	if uint64(f.Chunk) >= uint64(len(b.state)) {
		return false
	}
	i, k := int(f.Chunk), f.Piece
	if s := b.state[i]; s != missing && s != arriving || uint64(k) >= uint64(b.img.Pieces(i)) {
		return false
	}
	from, to := b.img.piece(i, int(k))
	if int64(len(f.Data)) != to-from {
		return false
	}
	p := b.open[i]
	if p == nil {
		if p = b.begin(i, now); p == nil {
			b.lost++
			return true
		}
	}
	p.last = now
	if p.have[k/64]>>(k%64)&1 != 0 {
		return true
	}
	p.have[k/64] |= 1 << (k % 64)
	p.got++
	copy(p.data[from:to], f.Data)
	if p.got == b.img.Pieces(i) {
		b.arrived(p)
		b.full = append(b.full, p)
	}
	return true
}

// fresh is how long a part is not to be thrown away that has more than few pieces. A
// sender of 1 Mbit/s sends one in 11 ms.
const (
	fresh = 20 * time.Millisecond
	few   = 8
)

// begin makes room for a chunk, or returns nil. The room is first taken from parts
// that have the fewest pieces: that is what forged ones have, of which the sender does
// not send the others.
func (b *book) begin(i int, now time.Time) *part {
	size := b.img.Table[i]
	for b.memory+size > b.limits.Memory || len(b.open) >= b.limits.Open {
		var least *part
		for _, p := range b.open {
			if least == nil || p.got < least.got || p.got == least.got && p.last.Before(least.last) {
				least = p
			}
		}
		if least == nil || least.got > few && now.Sub(least.last) < fresh {
			return nil
		}
		b.drop(least)
	}
	p := &part{chunk: i, data: make([]byte, size), have: make([]uint64, (b.img.Pieces(i)+63)/64)}
	b.open[i], b.state[i] = p, arriving
	b.memory += size
	return p
}

// drop forgets a part that arrives.
func (b *book) drop(p *part) {
	delete(b.open, p.chunk)
	b.state[p.chunk] = missing
	b.free(p)
}

// arrived ends the arrival of a part that is kept.
func (b *book) arrived(p *part) {
	delete(b.open, p.chunk)
	b.state[p.chunk] = busy
	b.pieces += int64(p.got)
	b.lost += int64(b.img.Pieces(p.chunk) - p.got)
}

// free gives back a part's memory.
func (b *book) free(p *part) {
	b.memory -= int64(len(p.data))
	p.data = nil
}

// settle ends the arrival of parts of which nothing more comes. Those that have half
// of their pieces are repaired; the others come again, or are asked for as a whole.
func (b *book) settle(now time.Time) {
	for _, p := range b.open {
		if now.Sub(p.last) < b.limits.Settle {
			continue
		}
		if 2*p.got < b.img.Pieces(p.chunk) || b.fixing+int64(len(p.data)) > b.limits.Memory/2 {
			b.drop(p)
			continue
		}
		b.arrived(p)
		b.fixing += int64(len(p.data))
		b.torn = append(b.torn, p)
	}
}

// toCheck returns a part that is whole, or nil.
func (b *book) toCheck() *part { return pop(&b.full) }

// toRepair returns a part that is torn, or nil.
func (b *book) toRepair() *part { return pop(&b.torn) }

// pop takes the first part of a queue.
func pop(queue *[]*part) *part {
	if len(*queue) == 0 {
		return nil
	}
	p := (*queue)[0]
	*queue = (*queue)[1:]
	return p
}

// repaired says that a torn part is whole now, or that it cannot be had (ok is false).
func (b *book) repaired(p *part, ok bool) {
	b.fixing -= int64(len(p.data))
	if p.fixed = true; ok {
		b.full = append(b.full, p)
		return
	}
	b.free(p)
	b.state[p.chunk] = missing
}

// wrong says that a part is not the chunk. Its pieces cannot be told right from wrong,
// so that all of it is asked for, and whatever else is cast of it is not looked at.
func (b *book) wrong(p *part) {
	b.free(p)
	b.state[p.chunk] = tainted
	b.forged = append(b.forged, p.chunk)
}

// toFetch returns n chunks that follow each other and are to be asked for as a whole:
// one that was forged or, where nobody casts, as many as make a request. n may be 0.
func (b *book) toFetch(live bool) (first, n int) {
	for len(b.forged) > 0 {
		i := b.forged[0]
		if b.forged = b.forged[1:]; b.state[i] == tainted {
			b.state[i] = busy
			return i, 1
		}
	}
	if live {
		return 0, 0
	}
	for range b.state {
		if b.state[b.cursor] == missing {
			break
		}
		b.cursor = (b.cursor + 1) % len(b.state)
	}
	first, size := b.cursor, int64(0)
	for i := first; i < len(b.state) && b.state[i] == missing && (n == 0 || size+b.img.Table[i] <= b.limits.Request); i++ {
		b.state[i] = busy
		size += b.img.Table[i]
		n++
	}
	return first, n
}

// lacking says that a chunk could not be had.
func (b *book) lacking(i int) {
	if b.state[i] == busy {
		b.state[i] = missing
	}
}

// done says that a chunk was handed on.
func (b *book) done(i int) {
	b.state[i] = unwanted
	b.left--
}

// gaps returns the ranges of a part that are missing, in bytes. Where only a few pieces
// lie between two of them these are asked for as well, being cheaper than a request.
func (b *book) gaps(p *part) [][2]int64 {
	const near = 4 * PieceSize
	var all [][2]int64
	for w, word := range p.have {
		for absent := ^word; absent != 0; absent &= absent - 1 {
			k := 64*w + bits.TrailingZeros64(absent)
			if k >= b.img.Pieces(p.chunk) {
				break
			}
			from, to := b.img.piece(p.chunk, k)
			if n := len(all); n > 0 && from-all[n-1][1] <= near {
				all[n-1][1] = to
			} else {
				all = append(all, [2]int64{from, to})
			}
		}
	}
	return all
}
