package xz

import "math"

// Probabilities have 11 bits, say how likely a 0 is, and move by 1/32 of what
// they were wrong.
const (
	probBits = 11
	probInit = 1 << (probBits - 1)
	probMove = 5
)

// prob is one adaptive probability.
type prob uint16

// rangeCoder writes bits in as many bits as they are unlikely.
type rangeCoder struct {
	out   []byte
	low   uint64
	width uint32
	// cache and the 0xff bytes after it wait for a carry.
	cache   byte
	pending int
}

// reset starts a new chunk.
func (r *rangeCoder) reset() {
	*r = rangeCoder{out: r.out[:0], width: math.MaxUint32, pending: 1}
}

// size is how many bytes the chunk would have now.
func (r *rangeCoder) size() int { return len(r.out) + r.pending + 4 }

// bit writes b and teaches p.
func (r *rangeCoder) bit(p *prob, b uint32) {
	bound := r.width >> probBits * uint32(*p)
	if b == 0 {
		r.width = bound
		*p += (1<<probBits - *p) >> probMove
	} else {
		r.low += uint64(bound)
		r.width -= bound
		*p -= *p >> probMove
	}
	for r.width < 1<<24 {
		r.width <<= 8
		r.shift()
	}
}

// direct writes the n low bits of v as equally likely.
func (r *rangeCoder) direct(v uint32, n int) {
	for n--; n >= 0; n-- {
		r.width >>= 1
		if v>>n&1 == 1 {
			r.low += uint64(r.width)
		}
		for r.width < 1<<24 {
			r.width <<= 8
			r.shift()
		}
	}
}

// shift moves the top byte of low out as soon as no carry can reach it.
func (r *rangeCoder) shift() {
	if r.low < 0xff000000 || r.low > math.MaxUint32 {
		carry := byte(r.low >> 32)
		for ; r.pending > 0; r.pending-- {
			r.out = append(r.out, r.cache+carry)
			r.cache = 0xff
		}
		r.cache = byte(r.low >> 24)
	}
	r.pending++
	r.low = r.low & 0x00ffffff << 8
}

// flush ends the chunk.
func (r *rangeCoder) flush() {
	for range 5 {
		r.shift()
	}
}

// tree writes the n bits of v, the highest first, each by a probability that
// the bits before it choose. Index 0 of probs is not used.
func (r *rangeCoder) tree(probs []prob, v uint32, n int) {
	at := uint32(1)
	for n--; n >= 0; n-- {
		b := v >> n & 1
		r.bit(&probs[at], b)
		at = at<<1 | b
	}
}

// reverse is tree with the lowest bit first.
func (r *rangeCoder) reverse(probs []prob, v uint32, n int) {
	at := uint32(1)
	for range n {
		b := v & 1
		r.bit(&probs[at], b)
		at = at<<1 | b
		v >>= 1
	}
}

// Prices are in sixteenths of a bit.
const (
	priceShift = 4
	bitPrice   = 1 << priceShift
)

// prices has the price of a 0 for the upper 7 bits of its probability.
var prices = func() (t [1 << (probBits - priceShift)]uint32) {
	for i := range t {
		p := (float64(i) + 0.5) / float64(len(t))
		t[i] = uint32(math.Round(-math.Log2(p) * bitPrice))
	}
	return t
}()

// price is what bit would cost.
func price(p prob, b uint32) uint32 {
	return prices[(uint32(p)^-b&(1<<probBits-1))>>priceShift]
}

// treePrice is what tree would cost.
func treePrice(probs []prob, v uint32, n int) (sum uint32) {
	at := uint32(1)
	for n--; n >= 0; n-- {
		b := v >> n & 1
		sum += price(probs[at], b)
		at = at<<1 | b
	}
	return sum
}

// reversePrice is what reverse would cost.
func reversePrice(probs []prob, v uint32, n int) (sum uint32) {
	at := uint32(1)
	for range n {
		b := v & 1
		sum += price(probs[at], b)
		at = at<<1 | b
		v >>= 1
	}
	return sum
}
