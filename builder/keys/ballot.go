package keys

import (
	"bytes"
	"maps"
	"slices"

	"github.com/farboot/farboot/payload/trust"
)

// ballot counts who has signed something, and tells who still should.
type ballot struct {
	// sides must each have as many signers as their threshold says. A
	// statement has two: the root keys before it, and its own.
	sides []trust.Role
	// able are the keys that count, those to be asked first in front.
	able []trust.Fingerprint
	have map[trust.Fingerprint][]byte
}

// newBallot returns that of a statement that follows prev.
func newBallot(prev, next trust.Statement) ballot {
	old := prev.Roles.Root
	old.Keys = slices.DeleteFunc(slices.Clone(old.Keys), func(fpr trust.Fingerprint) bool { return revokes(next, fpr) })
	return ballotOf(slices.Concat(prev.Keys, next.Keys), old, next.Roles.Root)
}

// ballotOf returns that of anything which the roles must sign.
func ballotOf(keys []trust.Key, sides ...trust.Role) ballot {
	b := ballot{sides: sides, have: map[trust.Fingerprint][]byte{}}
	cost := map[trust.Fingerprint]int{}
	for _, side := range sides {
		for _, fpr := range side.Keys {
			if !slices.Contains(b.able, fpr) {
				b.able = append(b.able, fpr)
			}
			cost[fpr]--
		}
	}
	for _, k := range keys {
		if _, ok := cost[k.Fingerprint]; ok && isStandby(k) {
			cost[k.Fingerprint] += len(sides) + 1
		}
	}
	slices.SortStableFunc(b.able, func(x, y trust.Fingerprint) int { return cost[x] - cost[y] })
	return b
}

// fresh returns the ballot with nobody's signature.
func (b ballot) fresh() ballot {
	b.have = map[trust.Fingerprint][]byte{}
	return b
}

// count notes the signature of a key that is able.
func (b ballot) count(fpr trust.Fingerprint, sig []byte) { b.have[fpr] = sig }

// lacks returns how many signers a side still needs.
func (b ballot) lacks(side trust.Role) int {
	n := side.Threshold
	for _, fpr := range side.Keys {
		if _, ok := b.have[fpr]; ok {
			n--
		}
	}
	return max(n, 0)
}

// needed returns how many more keys must sign, at the least.
func (b ballot) needed() int {
	n := 0
	for _, side := range b.sides {
		n += b.lacks(side)
	}
	if len(b.sides) != 2 {
		return n
	}
	// A key on both sides counts for both.
	x, y := b.sides[0], b.sides[1]
	both := 0
	for _, fpr := range x.Keys {
		if _, signed := b.have[fpr]; !signed && slices.Contains(y.Keys, fpr) {
			both++
		}
	}
	return n - min(both, b.lacks(x), b.lacks(y))
}

// done tells whether enough have signed.
func (b ballot) done() bool { return b.needed() == 0 }

// helps tells whether a signature of the key would bring the end nearer.
func (b ballot) helps(fpr trust.Fingerprint) bool {
	if _, ok := b.have[fpr]; ok {
		return false
	}
	return slices.ContainsFunc(b.sides, func(side trust.Role) bool {
		return slices.Contains(side.Keys, fpr) && b.lacks(side) > 0
	})
}

// missing returns the keys that would help.
func (b ballot) missing() []trust.Fingerprint {
	var list []trust.Fingerprint
	for _, fpr := range b.able {
		if b.helps(fpr) {
			list = append(list, fpr)
		}
	}
	return list
}

// signers returns who has signed, sorted.
func (b ballot) signers() []trust.Fingerprint { return slices.Sorted(maps.Keys(b.have)) }

// sigs returns the signature file.
func (b ballot) sigs() []byte {
	var parts [][]byte
	for _, fpr := range b.signers() {
		sig := b.have[fpr]
		if !slices.ContainsFunc(parts, func(p []byte) bool { return bytes.Equal(p, sig) }) {
			parts = append(parts, sig)
		}
	}
	return slices.Concat(parts...)
}
