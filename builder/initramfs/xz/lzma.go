package xz

import (
	"encoding/binary"
	"errors"
)

// saved is the length of what Begin puts before the bytes that are written for
// good: the range coder, the position, three bytes of context, the model.
var saved = func() int {
	var m model
	n := 8 + 4 + 1 + 4 + 4 + 3
	for _, p := range m.tables() {
		n += 2 * len(p)
	}
	return n
}()

// Begin compresses data as the start of a plain LZMA stream (lc=3 lp=0 pb=2,
// neither header nor end marker) and returns the coder's whole state, for
// [Finish]. With it, texts that differ in their last bytes alone cost the work
// of compressing once.
func Begin(data []byte) []byte {
	e := newEncoder(data)
	e.rc.reset()
	for e.pos < len(data) {
		e.encode(e.parse())
	}
	le, m, r := binary.LittleEndian, &e.model, &e.rc
	out := le.AppendUint64(nil, r.low)
	out = le.AppendUint32(out, r.width)
	out = append(out, r.cache)
	out = le.AppendUint32(out, uint32(r.pending))
	out = le.AppendUint32(out, uint32(e.pos))
	out = append(out, byte(m.state), e.before(e.pos), e.matched(e.pos, m.reps[0]))
	for _, table := range m.tables() {
		for _, p := range table {
			out = le.AppendUint16(out, uint16(p))
		}
	}
	return append(out, r.out...)
}

// Finish returns the stream of what begun was made of and of tail behind it,
// which is written without a search for matches. begun must come from Begin; it
// is not changed.
func Finish(begun, tail []byte) ([]byte, error) {
	if len(begun) < saved {
		return nil, errors.New("xz: the beginning of a stream is cut off")
	}
	le := binary.LittleEndian
	r := rangeCoder{low: le.Uint64(begun), width: le.Uint32(begun[8:]), cache: begun[12], pending: int(le.Uint32(begun[13:]))}
	pos := int(le.Uint32(begun[17:]))
	before, matched := begun[22], begun[23]
	m := model{state: state(begun[21])}
	if m.state >= states {
		return nil, errors.New("xz: not the beginning of a stream")
	}
	at := begun[24:]
	for _, table := range m.tables() {
		for i := range table {
			table[i], at = prob(le.Uint16(at)), at[2:]
		}
	}
	r.out = append(r.out, at...)
	for _, c := range tail {
		r.bit(&m.match[m.state][pos&(posStates-1)], 0)
		m.encodeLiteral(&r, c, before, matched) // matched counts for the first one only
		m.state = m.state.literal()
		before = c
		pos++
	}
	r.flush()
	return r.out, nil
}
