package trust_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// BenchmarkAdvancePadded is the dearest hop that a mirror can serve: its
// signature file is filled up with signatures that do not count.
func BenchmarkAdvancePadded(b *testing.B) {
	for name, junk := range map[string]func(*trusttest.Sim) *trusttest.Key{
		"plain":   nil,
		"unknown": func(s *trusttest.Sim) *trusttest.Key { return s.NewKey(trusttest.Root) },
		"root":    func(s *trusttest.Sim) *trusttest.Key { return s.Root },
	} {
		b.Run(name, func(b *testing.B) {
			sim := trusttest.NewSim(b, "demo", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
			sim.Issue(nil)
			files := sim.Files()
			sigs := files["trust/2.json.sig"]
			if junk != nil {
				pad := junk(sim).Sign(b, trust.PurposeStatement, []byte("x"), sim.At)
				sigs = append(bytes.Repeat(pad, (trust.MaxSignatureSize-len(sigs))/len(pad)), sigs...)
			}
			store := sim.Store(1)
			for b.Loop() {
				if _, err := store.Advance(files["trust/2.json"], sigs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
