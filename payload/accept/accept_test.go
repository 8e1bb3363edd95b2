package accept_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// A medium of statement 1 follows two rotations of the manifest key and one of
// the root key, and raises the floor to what it found.
func TestOldMediumFollowsNewKeys(t *testing.T) {
	sim := newSim(t)
	sim.Rotate(trusttest.Manifest)
	sim.At = after(300)
	sim.Rotate(trusttest.Root)
	sim.At = after(600) // statement 2 has expired meanwhile
	sim.Rotate(trusttest.Manifest)
	s := publish(t, sim, 7)
	a := boots(t, medium(sim, 1, state.Floor{}), s, trusted(after(601)), 4)
	want := state.Floor{Statement: 4, StatementSHA256: sim.Store(4).ID(), Epoch: 1, Version: 7, SHA256: object.OfBytes(s[manifest.File]).SHA256, Issued: after(600)}
	if !a.Floor().Equal(want) {
		t.Errorf("floor %+v, want %+v", a.Floor(), want)
	}
	if want := []trust.Fingerprint{sim.Manifest.Fingerprint()}; !slices.Equal(a.Signers, want) || len(a.Doubts) > 0 {
		t.Errorf("signed by %v, doubts %q", a.Signers, a.Doubts)
	}
	boots(t, medium(sim, 4, state.Floor{}), s, trusted(after(601)), 4)
}

// A mirror offers an older, genuine manifest.
func TestRollback(t *testing.T) {
	sim := newSim(t)
	old, current := publish(t, sim, 11), publish(t, sim, 12)
	now := trusted(day0)
	reached := boots(t, medium(sim, 1, state.Floor{}), current, now, 1).Floor()
	t.Run("medium's floor", func(t *testing.T) {
		j := medium(sim, 1, reached)
		refuses(t, j, old, now, accept.ErrRollback)
		boots(t, j, current, now, 1)
		boots(t, j, publish(t, sim, 13), now, 1)
	})
	t.Run("state", func(t *testing.T) {
		j := medium(sim, 1, state.Floor{})
		boots(t, j, old, now, 1) // who remembers nothing cannot tell
		j.Raise(reached, "the stick")
		refuses(t, j, old, now, accept.ErrRollback)
		boots(t, j, current, now, 1)
	})
	t.Run("state below the medium's floor", func(t *testing.T) {
		j := medium(sim, 1, reached)
		j.Raise(state.Floor{Statement: 1, Epoch: 1, Version: 3, SHA256: object.ID{1}, Issued: day0}, "the stick")
		refuses(t, j, old, now, accept.ErrRollback)
	})
	t.Run("statements", func(t *testing.T) {
		sim := newSim(t)
		stale := publish(t, sim, 12)
		rotations(sim, 3)
		j := medium(sim, 1, state.Floor{Statement: 3})
		refuses(t, j, stale, now, accept.ErrRollback)
		boots(t, j, publish(t, sim, 12), now, 3)
	})
	t.Run("epoch", func(t *testing.T) {
		sim := newSim(t)
		stale := publish(t, sim, 12)
		sim.Issue(func(st *trust.Statement) { st.Epoch++ }) // the key stays good
		refuses(t, medium(sim, 1, state.Floor{}), site(sim.Files()).with(site{
			manifest.File: stale[manifest.File], manifest.Signature: stale[manifest.Signature],
		}), now, accept.ErrRollback)
	})
	t.Run("a medium's floor that its statements do not reach", func(t *testing.T) {
		f := state.Floor{Statement: 1, Epoch: 2, Version: 1, SHA256: object.ID{1}, Issued: day0}
		refuses(t, medium(sim, 1, f), current, now, accept.ErrRollback)
	})
}

// A thief of the manifest key signs the last version there is, so that no later
// one passes.
func TestFastForward(t *testing.T) {
	sim := newSim(t)
	f := boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12), trusted(day0), 1).Floor()
	for version, want := range map[int64]error{
		12 + accept.MaxJump:     nil,
		12 + accept.MaxJump + 1: accept.ErrFastForward,
		1 << 62:                 accept.ErrFastForward,
		math.MaxInt64:           accept.ErrFastForward,
	} {
		s := publish(t, sim, version)
		if want == nil {
			boots(t, medium(sim, 1, f), s, trusted(day0), 1)
		} else {
			refuses(t, medium(sim, 1, f), s, trusted(day0), want)
		}
	}
	refuses(t, medium(sim, 1, state.Floor{}), publish(t, sim, accept.MaxJump+1), trusted(day0), accept.ErrFastForward)
}

// After such a theft the owner revokes the key: the epoch rises, versions count
// from 1, and machines that believed the thief follow.
func TestFastForwardRecovery(t *testing.T) {
	sim := newSim(t)
	thief := sim.Fork()
	stolen := publish(t, thief, accept.MaxJump, func(m *manifest.Manifest) { m.Issued, m.Expires = after(20_000), after(30_000) })
	f := boots(t, medium(sim, 1, state.Floor{}), stolen, unsure(day0), 1).Floor()
	sim.Revoke(sim.Manifest)
	good := publish(t, sim, 1)
	a := boots(t, medium(sim, 1, f), good, trusted(day0), 2)
	want := state.Floor{Statement: 2, StatementSHA256: sim.Store(2).ID(), Epoch: 2, Version: 1, SHA256: a.SHA256, Issued: day0}
	if !a.Floor().Equal(want) {
		t.Errorf("floor %+v, want %+v: the thief's date must go with his version", a.Floor(), want)
	}
	j := medium(sim, 1, a.Floor())
	refuses(t, j, stolen, unsure(day0), accept.ErrRollback) // he hides statement 2
	refuses(t, j, site(sim.Files()).with(site{
		manifest.File: stolen[manifest.File], manifest.Signature: stolen[manifest.Signature],
	}), unsure(day0), trust.ErrUntrusted)
}

// Who holds the keys shows different machines different manifests of one version.
func TestEquivocation(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	f := boots(t, medium(sim, 1, state.Floor{}), s, trusted(day0), 1).Floor()
	j := medium(sim, 1, f)
	boots(t, j, s, trusted(day0), 1)
	twin := publish(t, sim, 12, func(m *manifest.Manifest) { m.Default = []string{"rescue"} })
	refuses(t, j, twin, trusted(day0), accept.ErrEquivocation)
	boots(t, j, publish(t, sim, 13), trusted(day0), 1)
	sim.Revoke(sim.Manifest) // version 12 of another epoch is another one
	boots(t, j, publish(t, sim, 12), trusted(day0), 2)
}

// Statements without end, each properly signed.
func TestEndlessRootChain(t *testing.T) {
	sim := newSim(t)
	rotations(sim, 1+trust.MaxHops)
	boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12), trusted(day0), 1+trust.MaxHops)
	rotations(sim, 3+trust.MaxHops)
	s := publish(t, sim, 12)
	j := medium(sim, 1, state.Floor{})
	for range 2 { // another site, another round: no further
		if err := j.Walk(t.Context(), s.read); !errors.Is(err, trust.ErrChain) {
			t.Errorf("walked on: %v", err)
		}
		if got := j.Store().Statement().Version; got != 1+trust.MaxHops {
			t.Errorf("reached statement %d, want %d", got, 1+trust.MaxHops)
		}
	}
	boots(t, medium(sim, 10, state.Floor{}), s, trusted(day0), 3+trust.MaxHops) // a rebuilt medium
}

// Thresholds: one key twice, a key of another role, too few after a raise.
func TestThresholdGames(t *testing.T) {
	sim := newSim(t)
	first := sim.Manifest
	sim.Threshold(trusttest.Manifest, 2)
	m := sample(sim, 12)
	data, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	one := sim.SignManifest(data, first)
	sim.At = sim.At.Add(time.Hour)
	again := sim.SignManifest(data, first)
	for name, sigs := range map[string][]byte{
		"one of two":        one,
		"one, twice":        slices.Concat(one, one),
		"one, two dates":    slices.Concat(one, again),
		"one and the root":  slices.Concat(one, sim.Root.Sign(t, trust.PurposeManifest, data, day0)),
		"one and a foreign": slices.Concat(one, trusttest.NewKey(t, "foreign", day0).Sign(t, trust.PurposeManifest, data, day0)),
	} {
		t.Run(name, func(t *testing.T) {
			s := site(sim.Files()).with(site{manifest.File: data, manifest.Signature: sigs})
			refuses(t, medium(sim, 1, state.Floor{}), s, trusted(day0), trust.ErrUntrusted)
		})
	}
	if a := boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12), trusted(day0), 2); len(a.Signers) != 2 {
		t.Errorf("signers %v, want two", a.Signers)
	}
}

// A genuine manifest for others.
func TestWrongProduct(t *testing.T) {
	sim := newSim(t)
	for name, change := range map[string]func(*manifest.Manifest){
		"product": func(m *manifest.Manifest) { m.Product = "other" },
		"arch":    func(m *manifest.Manifest) { m.Arch = "arm64" },
		"channel": func(m *manifest.Manifest) { m.Channel = "testing" },
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12, change), trusted(day0), manifest.ErrWrongProduct)
		})
	}
}

// The root key is stolen. The standby key, which signed nothing before, makes
// the next statement; what the thief signs is no statement any more.
func TestStandbyTakesOver(t *testing.T) {
	sim := newSim(t)
	thief := sim.Fork()
	sim.Revoke(sim.Root)
	s := publish(t, sim, 12)
	j := medium(sim, 1, state.Floor{})
	boots(t, j, s, trusted(day0), 2)

	// He signs a statement 2 that makes him manifest signer, and then one that
	// follows the owner's.
	forged := thief.Fork()
	forged.Rotate(trusttest.Manifest)
	late := sim.Fork()
	mine := late.NewKey(trusttest.Manifest)
	late.Issue(func(st *trust.Statement) { late.List(st, trusttest.Manifest, mine) }, thief.Root)
	refuses(t, j, publish(t, forged, 13), trusted(day0), trust.ErrUntrusted)
	s3 := site(late.Files()).with(signed(t, late, manifest.File, sample(late, 13), mine))
	if err := j.Walk(t.Context(), s3.read); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("followed the stolen root key: %v", err)
	}
	refuses(t, j, s3, trusted(day0), trust.ErrUntrusted)
}

// A revoked manifest key signs, and backdates.
func TestRevokedKey(t *testing.T) {
	sim := newSim(t)
	stolen := sim.Manifest
	sim.Revoke(stolen)
	s := site(sim.Files()).with(signed(t, sim, manifest.File, sample(sim, 12), stolen))
	for _, now := range []clock.Time{trusted(day0), unsure(day0), unsure(time.Unix(0, 0))} {
		refuses(t, medium(sim, 1, state.Floor{}), s, now, trust.ErrUntrusted)
	}
	// Beside the new key's signature it does no harm.
	both := site(sim.Files()).with(signed(t, sim, manifest.File, sample(sim, 12), stolen, sim.Manifest))
	if a := boots(t, medium(sim, 1, state.Floor{}), both, trusted(day0), 2); len(a.Signers) != 1 {
		t.Errorf("signers %v, want the new one alone", a.Signers)
	}
}

// An entry that needs a revoked object is refused, the others are not.
func TestRevokedObject(t *testing.T) {
	sim := newSim(t)
	revoke := func(content []byte) func(*trust.Statement) {
		return func(st *trust.Statement) {
			st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{
				SHA256: object.OfBytes(content).SHA256, Reason: "CVE-2026-0001", Since: day0,
			})
		}
	}
	sim.Issue(revoke([]byte("old kernel")))
	s := publish(t, sim, 12)
	a := boots(t, medium(sim, 1, state.Floor{}), s, trusted(day0), 2)
	if _, err := a.Entry("rescue"); !errors.Is(err, accept.ErrRevoked) || !strings.Contains(err.Error(), "CVE-2026-0001") {
		t.Errorf("rescue: %v", err)
	}
	if e, err := a.Entry("installer"); err != nil || e.Linux == nil {
		t.Errorf("installer: %v", err)
	}
	if _, err := a.Entry("nothing"); err == nil {
		t.Error("an entry that is not there was found")
	}
	sim.Issue(revoke([]byte("initrd")))
	a = boots(t, medium(sim, 1, state.Floor{}), s.with(sim.Files()), trusted(day0), 3)
	if _, err := a.Entry("installer"); !errors.Is(err, accept.ErrRevoked) {
		t.Errorf("installer with a revoked initrd: %v", err)
	}
	if _, err := a.Object(object.OfBytes([]byte("initrd")).SHA256.String()); !errors.Is(err, accept.ErrRevoked) {
		t.Errorf("the initrd itself: %v", err)
	}
	if ref, err := a.Object(object.OfBytes([]byte("kernel")).SHA256.String()); err != nil || ref != object.OfBytes([]byte("kernel")) {
		t.Errorf("the kernel itself: %v, %v", ref, err)
	}
	if _, err := a.Object("nothing"); !errors.Is(err, manifest.ErrMalformed) {
		t.Errorf("an object that is not there: %v", err)
	}
	sim.Issue(revoke(s[manifest.File]))
	refuses(t, medium(sim, 1, state.Floor{}), s.with(sim.Files()), trusted(day0), accept.ErrRevoked)
}

// A bad statement N+2 does not lose N+1, and the next site's N+2 is taken.
func TestGoodHopsStay(t *testing.T) {
	sim := newSim(t)
	sim.Rotate(trusttest.Manifest)
	at2 := publish(t, sim, 12)
	sim.Rotate(trusttest.Manifest)
	good := publish(t, sim, 13)
	for name, c := range map[string]struct {
		files site
		want  error
	}{
		"damaged":    {site{"trust/3.json": []byte("{}"), "trust/3.json.sig": nil}, trust.ErrMalformed},
		"unsigned":   {site{"trust/3.json": good["trust/3.json"]}, trust.ErrUntrusted},
		"no data":    {site{"trust/3.json": good["trust/3.json"], "trust/3.json.sig": nil}, trust.ErrUntrusted},
		"too large":  {site{"trust/3.json": make([]byte, trust.MaxStatementSize+1)}, nil},
		"repetition": {site{"trust/3.json": good["trust/2.json"], "trust/3.json.sig": good["trust/2.json.sig"]}, trust.ErrChain},
	} {
		t.Run(name, func(t *testing.T) {
			j := medium(sim, 1, state.Floor{})
			a, walk, err := boot(t, j, at2.with(c.files), trusted(day0))
			if walk == nil || c.want != nil && !errors.Is(walk, c.want) {
				t.Errorf("walk: %v, want %v", walk, c.want)
			}
			if err != nil || a.Statement != 2 {
				t.Fatalf("manifest: %v", err)
			}
			boots(t, j, good, trusted(day0), 3)
		})
	}
}

// Statements that one site shows count for the next one, which withholds them.
func TestStatementsOfAnotherSite(t *testing.T) {
	sim := newSim(t)
	stale := publish(t, sim, 12)
	sim.Revoke(sim.Manifest)
	j := medium(sim, 1, state.Floor{})
	if err := j.Walk(t.Context(), site(sim.Files()).read); err != nil {
		t.Fatal(err)
	}
	refuses(t, j, stale, trusted(day0), trust.ErrUntrusted)
}

// Errors of Files pass through, and a cancelled walk ends.
func TestFilesFail(t *testing.T) {
	sim := newSim(t)
	down := errors.New("no answer")
	fails := func(context.Context, string, int64) ([]byte, error) { return nil, down }
	j := medium(sim, 1, state.Floor{})
	if err := j.Walk(t.Context(), fails); !errors.Is(err, down) {
		t.Errorf("Walk = %v", err)
	}
	if a, err := j.Manifest(t.Context(), fails, trusted(day0)); a != nil || !errors.Is(err, down) {
		t.Errorf("Manifest = %v", err)
	}
	refuses(t, j, site{}, trusted(day0), fs.ErrNotExist)
	s := publish(t, sim, 12, withDocuments)
	a, err := j.Manifest(t.Context(), s.read, trusted(day0))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := j.Document(t.Context(), fails, trusted(day0), a, machine); a != nil || !errors.Is(err, down) {
		t.Errorf("Document = %v: a server that fails is no server without the document", err)
	}
}

// A manifest of an epoch that no statement on the site has begun: half a
// publication.
func TestEpochWithoutStatement(t *testing.T) {
	sim := newSim(t)
	refuses(t, medium(sim, 1, state.Floor{}), publish(t, sim, 1, func(m *manifest.Manifest) { m.Epoch = 2 }), trusted(day0), trust.ErrChain)
}
