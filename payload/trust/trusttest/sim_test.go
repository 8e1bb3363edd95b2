package trusttest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// TestSim: whatever the owner does, media of every statement follow, the
// standby key signs only where it must, and manifests are believed.
func TestSim(t *testing.T) {
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	sim := trusttest.NewSim(t, "demo", at)
	steps := []func(){
		func() { sim.Rotate(trusttest.Root) },
		func() { sim.Rotate(trusttest.Standby) },
		func() { sim.Threshold(trusttest.Manifest, 2) },
		func() { sim.Revoke(sim.Manifest) },
		func() { sim.Revoke(sim.Standby) },
		func() { sim.Threshold(trusttest.Root, 3) },
		func() { sim.Rotate(trusttest.Root) },
		func() { sim.Threshold(trusttest.Root, 2) },
		func() { sim.Revoke(sim.Root) },
		func() { sim.Threshold(trusttest.Root, 1) },
		func() { sim.Issue(nil) },
	}
	last := int64(len(steps) + 1)
	for _, step := range steps {
		sim.At = sim.At.Add(time.Hour)
		step()
	}
	data := []byte("data")
	for n := int64(1); n <= last; n++ {
		store, err := sim.Store(n).Walk(t.Context(), trusttest.Read(sim.Files()))
		if err != nil {
			t.Fatalf("from %d: %v", n, err)
		}
		v, err := store.Open(trust.PurposeManifest, data, sim.SignManifest(data), sim.At)
		if err != nil || v.Statement() != last || len(v.Signers()) != 2 || len(v.Doubts()) > 0 {
			t.Errorf("from %d: Open = statement %d by %v, %q, %v", n, v.Statement(), v.Signers(), v.Doubts(), err)
		}
	}
	st := sim.Statement()
	if st.Epoch != 2 || len(st.Revoked.Keys) != 3 || !slices.Contains(st.Roles.Root.Keys, sim.Root.Fingerprint()) {
		t.Errorf("newest statement: epoch %d, revoked %v, root keys %v", st.Epoch, st.Revoked.Keys, st.Roles.Root.Keys)
	}
}
