package xz

// stretch is how many positions are weighed against each other at most.
const stretch = 4096

// node is a position of a stretch and the cheapest way found to it.
type node struct {
	price uint32
	step  step
	state state
	reps  [4]int32
}

const infinite = 1 << 30

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
// is so long that it is taken at once, or 0.
func (e *encoder) extend(at int) int {
	found := e.find.next()
	e.offerByte(at)
	if n := e.offerReps(at); n > 0 {
		return n
	}
	return e.offerMatches(at, found)
}

// offerByte offers the steps of one byte: a literal, and a repetition.
func (e *encoder) offerByte(at int) {
	n, m, pos := &e.nodes[at], &e.model, e.pos+at
	isMatch := &m.match[n.state][pos&(posStates-1)]
	c, matched := e.data[pos], e.matched(pos, n.reps[0])
	e.open(at + 1)
	e.reach(at+1, n.price+price(*isMatch, 0)+m.literalPrice(n.state, c, e.before(pos), matched), step{opLiteral, 1})
	if c == matched && pos > int(n.reps[0]) {
		e.reach(at+1, n.price+price(*isMatch, 1)+m.shortRepPrice(n.state, pos&(posStates-1)), step{0, 1})
	}
}

// offerReps offers matches at the last distances.
func (e *encoder) offerReps(at int) int {
	n, m, pos := &e.nodes[at], &e.model, e.pos+at
	posState := pos & (posStates - 1)
	limit := min(maxLen, len(e.data)-pos)
	for op := range int32(len(n.reps)) {
		from := pos - int(n.reps[op]) - 1
		if from < 0 {
			continue
		}
		l := common(e.data[pos:], e.data[from:], limit)
		if l < minLen {
			continue
		}
		if l >= niceLen {
			return e.take(at, step{op, int32(l)})
		}
		e.open(at + l)
		sum := n.price + price(m.match[n.state][posState], 1) + m.repOpPrice(n.state, op, posState)
		for k := minLen; k <= l; k++ {
			e.reach(at+k, sum+e.repPrice[posState][k], step{op, int32(k)})
		}
	}
	return 0
}

// offerMatches offers the matches that were found, and each also shorter.
func (e *encoder) offerMatches(at int, found []match) int {
	if len(found) == 0 {
		return 0
	}
	longest := found[len(found)-1]
	if longest.n >= niceLen {
		return e.take(at, step{opMatch + longest.dist, longest.n})
	}
	e.open(at + int(longest.n))
	n, m := &e.nodes[at], &e.model
	posState := (e.pos + at) & (posStates - 1)
	sum := n.price + price(m.match[n.state][posState], 1) + price(m.isRep[n.state], 0)
	k := int32(minLen)
	for _, f := range found {
		for ; k <= f.n; k++ {
			e.reach(at+int(k), sum+e.matchPrice[posState][k]+e.distPrice(f.dist, int(k)), step{opMatch + f.dist, k})
		}
	}
	return 0
}

// take makes s the way from at, enters the positions that it covers and returns
// its length.
func (e *encoder) take(at int, s step) int {
	e.nodes[at+int(s.n)].step = s
	e.find.skip(int(s.n) - 1)
	return int(s.n)
}
