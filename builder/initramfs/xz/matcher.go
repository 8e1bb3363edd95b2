package xz

import (
	"encoding/binary"
	"math/bits"
)

// How hard the matcher looks. On 8 MiB of modules xz -6 makes 1,630,460 bytes
// in 4.3 s, this package 1,643,848 in 5.4 s; niceLen 128 and depth 48 made
// 1,635,232 in 5.9 s, 32 and 16 made 1,655,780 in 4.5 s.
const (
	// niceLen is a length that ends the search at once.
	niceLen = 64
	// depth is how many earlier positions are compared at most.
	depth = 32
)

const (
	hash2Bits = 10
	hash3Bits = 16
	hash4Bits = 18
)

// match is an earlier occurrence: its distance counted from 0.
type match struct{ n, dist int32 }

// matcher finds for each position the nearest earlier occurrence of every
// length. It keeps a binary tree per hash of 4 bytes, sorted by what follows,
// with the latest position as root ("bt4"); and the last position of each hash
// of 2 and of 3 bytes.
type matcher struct {
	data []byte
	// pos is the next position to enter.
	pos int
	// Positions are kept plus one, so that 0 is none.
	hash2, hash3, hash4 []int32
	// son has the two subtrees of each position in the window: what sorts
	// before it and what sorts behind. Its length is a power of 2.
	son   [][2]int32
	found []match
}

func newMatcher(data []byte) *matcher {
	return &matcher{
		data:  data,
		hash2: make([]int32, 1<<hash2Bits),
		hash3: make([]int32, 1<<hash3Bits),
		hash4: make([]int32, 1<<hash4Bits),
		son:   make([][2]int32, 1<<min(dictBits, bits.Len(uint(len(data))))),
		found: make([]match, 0, maxLen),
	}
}

// next enters the next position and returns its matches by rising length and
// distance. The result is good until the following call.
func (m *matcher) next() []match {
	m.found = m.found[:0]
	m.enter()
	if k := len(m.found); k > 0 && m.found[k-1].n == niceLen {
		m.found[k-1].n = m.extend(int(m.found[k-1].dist))
	}
	return m.found
}

// skip enters n positions.
func (m *matcher) skip(n int) {
	for range n {
		m.found = m.found[:0]
		m.enter()
	}
}

// extend returns how long the match at dist of the position just entered is.
func (m *matcher) extend(dist int) int32 {
	at := m.pos - 1
	return int32(common(m.data[at:], m.data[at-dist-1:], min(maxLen, len(m.data)-at)))
}

// enter looks matches up and makes the position the root of its tree.
func (m *matcher) enter() {
	at := m.pos
	m.pos++
	limit := min(niceLen, len(m.data)-at)
	if limit < 4 {
		return // too near the end to be worth a match
	}
	word := binary.LittleEndian.Uint32(m.data[at:])
	h2, h3, h4 := hash(word<<16, hash2Bits), hash(word<<8, hash3Bits), hash(word, hash4Bits)
	near2, near3, root := int(m.hash2[h2])-1, int(m.hash3[h3])-1, m.hash4[h4]
	self := int32(at + 1)
	m.hash2[h2], m.hash3[h3], m.hash4[h4] = self, self, self

	best := 1
	for _, p := range [2]int{near2, near3} {
		if p < 0 || at-p > DictSize {
			continue
		}
		if n := common(m.data[at:], m.data[p:], limit); n > best {
			best = n
			m.found = append(m.found, match{int32(n), int32(at - p - 1)})
		}
	}
	m.descend(at, root, limit, best)
}

// descend walks the tree from root and splits it into what sorts before and
// behind the new position. It records what matches more than best bytes.
func (m *matcher) descend(at int, root int32, limit, best int) {
	cur := m.data[at : at+limit]
	mask := len(m.son) - 1
	own := &m.son[at&mask]
	before, behind := &own[0], &own[1]
	lenBefore, lenBehind := 0, 0
	for left := depth; ; left-- {
		p := int(root) - 1
		if p < 0 || at-p > mask || left == 0 {
			*before, *behind = 0, 0
			return
		}
		old := &m.son[p&mask]
		n := min(lenBefore, lenBehind)
		n += common(cur[n:], m.data[p+n:], limit-n)
		if n > best {
			best = n
			m.found = append(m.found, match{int32(n), int32(at - p - 1)})
		}
		if n == limit {
			*before, *behind = old[0], old[1]
			return
		}
		if m.data[p+n] < cur[n] {
			*before = root
			before = &old[1]
			root = old[1]
			lenBefore = n
		} else {
			*behind = root
			behind = &old[0]
			root = old[0]
			lenBehind = n
		}
	}
}

// hash takes the upper bits of a product with 2^32 over the golden ratio.
func hash(word uint32, n int) uint32 { return word * 2654435769 >> (32 - n) }

// common returns how many of the first limit bytes of a and b are equal.
func common(a, b []byte, limit int) int {
	n := 0
	for ; n+8 <= limit; n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for ; n < limit && a[n] == b[n]; n++ {
	}
	return n
}
