package xz

import "math/bits"

// Properties of the coder: bits of the byte before that choose a literal's
// probabilities, and bits of the position that choose those, and a match's.
// Other values made modules larger.
const (
	lc, lp, pb = 3, 0, 2
	posStates  = 1 << pb
)

const (
	minLen = 2
	maxLen = 273
	states = 12
	// Distances, counted from 0, have a slot of 6 bits; from slot 4 on more
	// bits follow, of which from slot 14 on the lowest 4 are the "align" bits.
	slots     = 64
	alignBits = 4
	fullDists = 128 // distances below are priced one by one
	lenKinds  = 4   // lengths 2, 3, 4 and longer have own slots
)

// state is what the last operations were. Below litStates the last one was a
// literal.
type state uint8

const litStates = 7

func (s state) literal() state {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

func (s state) match() state    { return s.after(7, 10) }
func (s state) rep() state      { return s.after(8, 11) }
func (s state) shortRep() state { return s.after(9, 11) }

func (s state) after(literal, other state) state {
	if s < litStates {
		return literal
	}
	return other
}

// model is all that the coder learns.
type model struct {
	state state
	reps  [4]int32 // last distances, the latest first

	match    [states][posStates]prob
	isRep    [states]prob
	rep0     [states]prob
	rep1     [states]prob
	rep2     [states]prob
	rep0Long [states][posStates]prob
	literals [1 << lc][0x300]prob
	slot     [lenKinds][slots]prob
	special  [fullDists]prob
	align    [1 << alignBits]prob
	matchLen lengths
	repLen   lengths
}

// lengths codes the length of a match, less minLen: 8 short and 8 middle ones
// by position, and 256 long ones.
type lengths struct {
	choice   [2]prob // not low, not mid
	low, mid [posStates][8]prob
	high     [256]prob
}

// reset makes the model forget everything.
func (m *model) reset() {
	*m = model{}
	for _, p := range m.tables() {
		fill(p)
	}
}

// tables lists all probabilities.
func (m *model) tables() [][]prob {
	all := [][]prob{m.isRep[:], m.rep0[:], m.rep1[:], m.rep2[:], m.special[:], m.align[:]}
	for s := range m.match {
		all = append(all, m.match[s][:], m.rep0Long[s][:])
	}
	for i := range m.literals {
		all = append(all, m.literals[i][:])
	}
	for i := range m.slot {
		all = append(all, m.slot[i][:])
	}
	return append(m.matchLen.tables(all), m.repLen.tables(nil)...)
}

// tables appends all probabilities of a length.
func (l *lengths) tables(all [][]prob) [][]prob {
	all = append(all, l.choice[:], l.high[:])
	for i := range l.low {
		all = append(all, l.low[i][:], l.mid[i][:])
	}
	return all
}

func fill(p []prob) {
	for i := range p {
		p[i] = probInit
	}
}

// encode writes length n.
func (l *lengths) encode(r *rangeCoder, n, posState int) {
	switch v := uint32(n - minLen); {
	case v < 8:
		r.bit(&l.choice[0], 0)
		r.tree(l.low[posState][:], v, 3)
	case v < 16:
		r.bit(&l.choice[0], 1)
		r.bit(&l.choice[1], 0)
		r.tree(l.mid[posState][:], v-8, 3)
	default:
		r.bit(&l.choice[0], 1)
		r.bit(&l.choice[1], 1)
		r.tree(l.high[:], v-16, 8)
	}
}

// price is what encode would cost.
func (l *lengths) price(n, posState int) uint32 {
	switch v := uint32(n - minLen); {
	case v < 8:
		return price(l.choice[0], 0) + treePrice(l.low[posState][:], v, 3)
	case v < 16:
		return price(l.choice[0], 1) + price(l.choice[1], 0) + treePrice(l.mid[posState][:], v-8, 3)
	default:
		return price(l.choice[0], 1) + price(l.choice[1], 1) + treePrice(l.high[:], v-16, 8)
	}
}

// slotOf returns the slot of a distance: the position of its highest bit and
// the bit below.
func slotOf(dist int32) uint32 {
	if dist < 4 {
		return uint32(dist)
	}
	n := uint32(bits.Len32(uint32(dist))) - 1
	return n<<1 | uint32(dist)>>(n-1)&1
}

// lenKind chooses the slots' probabilities by a match's length.
func lenKind(n int) int { return min(n-minLen, lenKinds-1) }

// footer is what follows a slot: so many bits, less the base that it implies.
func footer(slot uint32) (n int, base int32) {
	n = int(slot>>1) - 1
	return n, int32(2|slot&1) << n
}

// encodeDist writes the distance of a match of length n.
func (m *model) encodeDist(r *rangeCoder, dist int32, n int) {
	slot := slotOf(dist)
	r.tree(m.slot[lenKind(n)][:], slot, 6)
	if slot < 4 {
		return
	}
	count, base := footer(slot)
	if dist < fullDists {
		r.reverse(m.special[base-int32(slot):], uint32(dist-base), count)
		return
	}
	r.direct(uint32(dist-base)>>alignBits, count-alignBits)
	r.reverse(m.align[:], uint32(dist)&(1<<alignBits-1), alignBits)
}

// encodeLiteral writes byte c after the byte before. Where the last operation
// was a match, the byte that it would have gone on with chooses, too.
func (m *model) encodeLiteral(r *rangeCoder, c, before, matched byte) {
	probs := &m.literals[before>>(8-lc)]
	if m.state < litStates {
		r.tree(probs[:], uint32(c), 8)
		return
	}
	at, offset := uint32(1), uint32(0x100)
	v, other := uint32(c), uint32(matched)
	for i := 7; i >= 0; i-- {
		b, ob := v>>i&1, other<<(8-i)&offset
		r.bit(&probs[offset+ob+at], b)
		at = at<<1 | b
		if b<<8 != ob {
			offset = 0
		}
	}
}

// literalPrice is what encodeLiteral would cost in state s.
func (m *model) literalPrice(s state, c, before, matched byte) (sum uint32) {
	probs := &m.literals[before>>(8-lc)]
	if s < litStates {
		return treePrice(probs[:], uint32(c), 8)
	}
	at, offset := uint32(1), uint32(0x100)
	v, other := uint32(c), uint32(matched)
	for i := 7; i >= 0; i-- {
		b, ob := v>>i&1, other<<(8-i)&offset
		sum += price(probs[offset+ob+at], b)
		at = at<<1 | b
		if b<<8 != ob {
			offset = 0
		}
	}
	return sum
}
