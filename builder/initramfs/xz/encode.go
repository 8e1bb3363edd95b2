package xz

// Operations, as node.op and step.op have them; a higher value is a match at
// the distance op-opMatch.
const (
	opLiteral = -1
	opMatch   = 4 // 0 to 3 repeat one of the last distances
)

// step is one operation and how many bytes it covers.
type step struct{ op, n int32 }

// encoder compresses data.
type encoder struct {
	data  []byte
	pos   int
	rc    rangeCoder
	model model
	find  *matcher
	nodes []node
	end   int // furthest node that is reached
	steps []step

	// Prices of lengths and distances, renewed when age runs out.
	age        int
	matchPrice [posStates][maxLen + 1]uint32
	repPrice   [posStates][maxLen + 1]uint32
	slotPrice  [lenKinds][slots]uint32
	nearPrice  [lenKinds][fullDists]uint32
	alignPrice [1 << alignBits]uint32
}

func newEncoder(data []byte) *encoder {
	e := &encoder{data: data, find: newMatcher(data), nodes: make([]node, stretch+maxLen+1)}
	e.model.reset()
	return e
}

// encode writes steps and moves on behind them.
func (e *encoder) encode(steps []step) {
	for _, s := range steps {
		e.write(s)
		e.pos += int(s.n)
	}
}

// write writes one step.
func (e *encoder) write(s step) {
	m, r := &e.model, &e.rc
	posState := e.pos & (posStates - 1)
	if s.op == opLiteral {
		r.bit(&m.match[m.state][posState], 0)
		m.encodeLiteral(r, e.data[e.pos], e.before(e.pos), e.matched(e.pos, m.reps[0]))
		m.state = m.state.literal()
		return
	}
	r.bit(&m.match[m.state][posState], 1)
	e.age--
	if s.op >= opMatch {
		r.bit(&m.isRep[m.state], 0)
		m.matchLen.encode(r, int(s.n), posState)
		m.encodeDist(r, s.op-opMatch, int(s.n))
	} else {
		e.writeRep(s, posState)
	}
	m.state, m.reps = after(m.state, m.reps, s)
}

// writeRep writes a repetition of one of the last distances.
func (e *encoder) writeRep(s step, posState int) {
	m, r := &e.model, &e.rc
	r.bit(&m.isRep[m.state], 1)
	switch s.op {
	case 0:
		r.bit(&m.rep0[m.state], 0)
		r.bit(&m.rep0Long[m.state][posState], btoi(s.n > 1))
		if s.n == 1 {
			return
		}
	case 1:
		r.bit(&m.rep0[m.state], 1)
		r.bit(&m.rep1[m.state], 0)
	default:
		r.bit(&m.rep0[m.state], 1)
		r.bit(&m.rep1[m.state], 1)
		r.bit(&m.rep2[m.state], btoi(s.op == 3))
	}
	m.repLen.encode(r, int(s.n), posState)
}

// shortRepPrice is what writeRep would cost for one byte.
func (m *model) shortRepPrice(s state, posState int) uint32 {
	return price(m.isRep[s], 1) + price(m.rep0[s], 0) + price(m.rep0Long[s][posState], 0)
}

// repOpPrice is what writeRep would cost without the length, for n > 1.
func (m *model) repOpPrice(s state, op int32, posState int) uint32 {
	sum := price(m.isRep[s], 1)
	switch op {
	case 0:
		return sum + price(m.rep0[s], 0) + price(m.rep0Long[s][posState], 1)
	case 1:
		return sum + price(m.rep0[s], 1) + price(m.rep1[s], 0)
	}
	return sum + price(m.rep0[s], 1) + price(m.rep1[s], 1) + price(m.rep2[s], btoi(op == 3))
}

// after returns the state and the last distances behind s.
func after(st state, reps [4]int32, s step) (state, [4]int32) {
	switch {
	case s.op == opLiteral:
		return st.literal(), reps
	case s.op == 0 && s.n == 1:
		return st.shortRep(), reps
	case s.op >= opMatch:
		return st.match(), [4]int32{s.op - opMatch, reps[0], reps[1], reps[2]}
	}
	d := reps[s.op]
	copy(reps[1:s.op+1], reps[:s.op])
	reps[0] = d
	return st.rep(), reps
}

// before returns the byte before at.
func (e *encoder) before(at int) byte {
	if at == 0 {
		return 0
	}
	return e.data[at-1]
}

// matched returns the byte at the last distance.
func (e *encoder) matched(at int, dist int32) byte {
	if at <= int(dist) {
		return 0
	}
	return e.data[at-int(dist)-1]
}

// distPrice is what a distance costs with a match of length n.
func (e *encoder) distPrice(dist int32, n int) uint32 {
	kind := lenKind(n)
	if dist < fullDists {
		return e.nearPrice[kind][dist]
	}
	return e.slotPrice[kind][slotOf(dist)] + e.alignPrice[dist&(1<<alignBits-1)]
}

// renewPrices works the prices out from what the model knows by now.
func (e *encoder) renewPrices() {
	const lifetime = 128 // matches
	e.age = lifetime
	m := &e.model
	for ps := range posStates {
		for n := minLen; n <= maxLen; n++ {
			e.matchPrice[ps][n] = m.matchLen.price(n, ps)
			e.repPrice[ps][n] = m.repLen.price(n, ps)
		}
	}
	for kind := range lenKinds {
		for slot := range uint32(slots) {
			p := treePrice(m.slot[kind][:], slot, 6)
			if slot >= 14 {
				count, _ := footer(slot)
				p += uint32(count-alignBits) * bitPrice
			}
			e.slotPrice[kind][slot] = p
		}
		for dist := range int32(fullDists) {
			slot := slotOf(dist)
			p := e.slotPrice[kind][slot]
			if slot >= 4 {
				count, base := footer(slot)
				p += reversePrice(m.special[base-int32(slot):], uint32(dist-base), count)
			}
			e.nearPrice[kind][dist] = p
		}
	}
	for i := range e.alignPrice {
		e.alignPrice[i] = reversePrice(m.align[:], uint32(i), alignBits)
	}
}

func btoi(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
