package trust_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// TestPanel counts single signatures, by the rules that hold for all.
func TestPanel(t *testing.T) {
	a, b, c := trusttest.NewKey(t, "a", issued), trusttest.NewKey(t, "b", issued), trusttest.NewKey(t, "c", issued)
	young := trusttest.NewKey(t, "young", issued.AddDate(1, 0, 0))
	revoked := trust.Revoked{Keys: []trust.RevokedKey{{Fingerprint: c.Fingerprint(), Reason: "stolen", Since: issued}}}
	data := []byte("data")
	sign := func(k *trusttest.Key, p trust.Purpose) []byte { return k.Sign(t, p, data, issued) }
	const p = trust.PurposeManifest
	panel, err := trust.NewPanel(issued, revoked, a.Public(t), c.Public(t), young.Public(t), b.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		sigs []byte
		want []*trusttest.Key
	}{
		"one":             {sign(a, p), []*trusttest.Key{a}},
		"both":            {slices.Concat(sign(b, p), sign(a, p)), []*trusttest.Key{a, b}},
		"one twice":       {slices.Concat(sign(a, p), sign(a, p)), []*trusttest.Key{a}},
		"a revoked one":   {sign(c, p), nil},
		"one not made":    {young.Sign(t, p, data, issued.AddDate(2, 0, 0)), nil},
		"another purpose": {sign(a, trust.PurposeStatement), nil},
		"other data":      {a.Sign(t, p, []byte("other"), issued), nil},
		"nothing":         {nil, nil},
		"one that counts": {slices.Concat(sign(c, p), sign(b, p)), []*trusttest.Key{b}},
	} {
		var want []trust.Fingerprint
		for _, k := range x.want {
			want = append(want, k.Fingerprint())
		}
		slices.Sort(want)
		got, err := panel.Count(p, data, x.sigs)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) || err != nil && !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := trust.NewPanel(issued.Add(-time.Hour), revoked, a.Public(t), c.Public(t)); err == nil {
		t.Error("a panel of nobody")
	}
}
