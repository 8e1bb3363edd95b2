package xz

// stretch is how many positions are weighed against each other at most.
const stretch = 4096

// Operations, as node.op and step.op have them; a higher value is a match at
// the distance op-opMatch.
const (
	opLiteral = -1
	opMatch   = 4 // 0 to 3 repeat one of the last distances
)

// step is one operation and how many bytes it covers.
type step struct{ op, n int32 }

// node is a position of a stretch and the cheapest way found to it.
type node struct {
	price uint32
	step  step
	state state
	reps  [4]int32
}

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

const infinite = 1 << 30

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

// parse returns the cheapest steps for the next stretch. It ends where all
// ways meet, at a match that is long enough not to be weighed, or when the
// stretch is full.
func (e *encoder) parse() []step {
	if e.age <= 0 {
		e.renewPrices()
	}
	e.nodes[0] = node{state: e.model.state, reps: e.model.reps}
	e.end = 0
	at := 0
	for at == 0 || at < min(e.end, stretch) {
		if at > 0 {
			e.settle(at)
		}
		if long := e.extend(at); long > 0 {
			return e.trace(at + long)
		}
		at++
	}
	return e.trace(at)
}

// settle works out state and distances of a node whose way is known.
func (e *encoder) settle(at int) {
	n := &e.nodes[at]
	from := &e.nodes[at-int(n.step.n)]
	n.state, n.reps = after(from.state, from.reps, n.step)
}

// trace returns the steps that lead to the node at.
func (e *encoder) trace(at int) []step {
	e.steps = e.steps[:0]
	for at > 0 {
		s := e.nodes[at].step
		e.steps = append(e.steps, s)
		at -= int(s.n)
	}
	for i, j := 0, len(e.steps)-1; i < j; i, j = i+1, j-1 {
		e.steps[i], e.steps[j] = e.steps[j], e.steps[i]
	}
	return e.steps
}

// open makes nodes up to the node at ready to be reached.
func (e *encoder) open(at int) {
	for e.end < at {
		e.end++
		e.nodes[e.end].price = infinite
	}
}

// reach offers a way to the node at.
func (e *encoder) reach(at int, price uint32, s step) {
	if n := &e.nodes[at]; price < n.price {
		n.price, n.step = price, s
	}
}

// extend offers all steps from the node at. It returns the length of one that
// is so long that it is taken, or 0.
func (e *encoder) extend(at int) int {
	pos := e.pos + at
	found := e.find.next()
	n, m := &e.nodes[at], &e.model
	posState := pos & (posStates - 1)
	limit := min(maxLen, len(e.data)-pos)

	c, matched := e.data[pos], e.matched(pos, n.reps[0])
	isMatch := n.price + price(m.match[n.state][posState], 1)
	e.open(at + 1)
	e.reach(at+1, n.price+price(m.match[n.state][posState], 0)+
		m.literalPrice(n.state, c, e.before(pos), matched), step{opLiteral, 1})
	if c == matched && pos > int(n.reps[0]) {
		e.reach(at+1, isMatch+price(m.isRep[n.state], 1)+price(m.rep0[n.state], 0)+
			price(m.rep0Long[n.state][posState], 0), step{0, 1})
	}

	for op := range int32(4) {
		from := pos - int(n.reps[op]) - 1
		if from < 0 {
			continue
		}
		l := common(e.data[pos:], e.data[from:], limit)
		if l < minLen {
			continue
		}
		if l >= niceLen {
			e.take(at, l, step{op, int32(l)})
			return l
		}
		e.open(at + l)
		base := isMatch + m.repOpPrice(n.state, op, posState)
		for k := minLen; k <= l; k++ {
			e.reach(at+k, base+e.repPrice[posState][k], step{op, int32(k)})
		}
	}

	if len(found) == 0 {
		return 0
	}
	if last := found[len(found)-1]; last.n >= niceLen {
		e.take(at, int(last.n), step{opMatch + last.dist, last.n})
		return int(last.n)
	}
	e.open(at + int(found[len(found)-1].n))
	base := isMatch + price(m.isRep[n.state], 0)
	k := int32(minLen)
	for _, f := range found {
		for ; k <= f.n; k++ {
			e.reach(at+int(k), base+e.matchPrice[posState][k]+e.distPrice(f.dist, int(k)), step{opMatch + f.dist, k})
		}
	}
	return 0
}

// take makes s the way from at and enters the positions that it covers.
func (e *encoder) take(at, n int, s step) {
	e.nodes[at+n].step = s
	e.find.skip(n - 1)
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
