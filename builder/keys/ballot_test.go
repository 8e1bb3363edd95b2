package keys

import (
	"testing"

	"github.com/farboot/farboot/payload/trust"
)

// TestNeeded counts a key on both sides once, and keys on one side each.
func TestNeeded(t *testing.T) {
	role := func(n int, keys ...trust.Fingerprint) trust.Role { return trust.Role{Threshold: n, Keys: keys} }
	for _, c := range []struct {
		sides  []trust.Role
		signed []trust.Fingerprint
		want   int
	}{
		{[]trust.Role{role(2, "A", "B")}, nil, 2},
		{[]trust.Role{role(1, "A"), role(1, "B")}, nil, 2},
		{[]trust.Role{role(1, "A", "C"), role(1, "B", "C")}, nil, 1},
		{[]trust.Role{role(2, "A", "C"), role(2, "B", "C")}, nil, 3},
		{[]trust.Role{role(2, "A", "C"), role(2, "B", "C")}, []trust.Fingerprint{"C"}, 2},
		{[]trust.Role{role(1, "A", "C"), role(1, "B", "C")}, []trust.Fingerprint{"A"}, 1},
		{[]trust.Role{role(1, "A", "C"), role(1, "B", "C")}, []trust.Fingerprint{"C"}, 0},
	} {
		b := ballotOf(nil, c.sides...)
		for _, fpr := range c.signed {
			b.count(fpr, nil)
		}
		if got := b.needed(); got != c.want {
			t.Errorf("%+v, signed by %v: %d needed, want %d", c.sides, c.signed, got, c.want)
		}
	}
}
