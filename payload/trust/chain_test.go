package trust_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// walks fails unless store follows files as far as the given version, and
// returns the Store of it.
func walks(t *testing.T, store *trust.Store, files map[string][]byte, version int64) *trust.Store {
	t.Helper()
	last, err := store.Walk(t.Context(), trusttest.Read(files))
	if err != nil {
		t.Fatalf("Walk: %v", err)
	}
	if got := last.Statement().Version; got != version {
		t.Fatalf("Walk ends at statement %d, want %d", got, version)
	}
	return last
}

// stops fails unless store refuses files with the given error, whose text has
// every word.
func stops(t *testing.T, store *trust.Store, files map[string][]byte, class error, words ...string) {
	t.Helper()
	last, err := store.Walk(t.Context(), trusttest.Read(files))
	if !errors.Is(err, class) || last != nil {
		t.Errorf("Walk = %v, %v, want %v", last, err, class)
		return
	}
	for _, other := range []error{trust.ErrChain, trust.ErrMalformed, trust.ErrUntrusted} {
		if other != class && errors.Is(err, other) {
			t.Errorf("%v is %v, too", err, other)
		}
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("message %q does not say %q", err, w)
		}
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("message %q has unprintable characters", err)
	}
}

// TestChain: media of any statement follow two manifest rotations and one of
// the root key, and believe the newest keys alone.
func TestChain(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	first := sim.Manifest
	sim.Rotate(trusttest.Manifest)
	sim.Rotate(trusttest.Root)
	sim.Rotate(trusttest.Manifest)
	data := []byte("data")
	for n := int64(1); n <= 4; n++ {
		medium := sim.Store(n)
		store := walks(t, medium, sim.Files(), 4)
		v, err := store.Open(manifest, data, sim.SignManifest(data), issued)
		if err != nil || v.Statement() != 4 || !slices.Equal(v.Signers(), []trust.Fingerprint{sim.Manifest.Fingerprint()}) {
			t.Errorf("from %d: Open = statement %d by %v, %v", n, v.Statement(), v.Signers(), err)
		}
		refused(t, store, data, sim.SignManifest(data, first), "unknown key")
		if medium.Statement().Version != n {
			t.Errorf("walking from %d changed the Store it began with", n)
		}
	}
	accepted(t, sim.Store(1), data, sim.SignManifest(data, first), first)
}

// TestChainSkipped, repeated and rolled back: a file under another's name.
func TestChainSkipped(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Issue(nil)
	sim.Issue(nil)
	put := func(from, to string) map[string][]byte {
		files := sim.Files()
		files["trust/"+to+".json"], files["trust/"+to+".json.sig"] = files["trust/"+from+".json"], files["trust/"+from+".json.sig"]
		return files
	}
	stops(t, sim.Store(1), put("3", "2"), trust.ErrChain, "trust statement 2", "version 3")
	stops(t, sim.Store(1), put("1", "2"), trust.ErrChain, "version 1")
	stops(t, sim.Store(3), put("3", "4"), trust.ErrChain, "version 3")
	stops(t, sim.Store(3), put("2", "4"), trust.ErrChain, "version 2")
	files := sim.Files()
	delete(files, "trust/2.json")
	walks(t, sim.Store(1), files, 1)
}

// TestChainForked: two futures of one past cannot be spliced.
func TestChainForked(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	fork := sim.Fork()
	sim.Rotate(trusttest.Root)
	sim.Rotate(trusttest.Root)
	fork.Rotate(trusttest.Manifest)
	files := sim.Files()
	files["trust/2.json"], files["trust/2.json.sig"] = fork.Files()["trust/2.json"], fork.Files()["trust/2.json.sig"]
	stops(t, sim.Store(1), files, trust.ErrUntrusted, "trust statement 3, by the keys of 2", "unknown key")
	files["trust/2.json.sig"] = sim.Files()["trust/2.json.sig"]
	stops(t, sim.Store(1), files, trust.ErrUntrusted, "trust statement 2, by the keys of 1", "bad")
}

// TestChainSelfSigned: who was not trusted before cannot make himself root.
func TestChainSelfSigned(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	evil := sim.NewKey(trusttest.Root)
	takeover := func(st *trust.Statement) {
		sim.Drop(st, sim.Root)
		sim.Drop(st, sim.Standby)
		sim.List(st, trusttest.Root, evil)
	}
	for name, c := range map[string]struct {
		signers []*trusttest.Key
		says    string
	}{
		"by himself":                    {[]*trusttest.Key{evil}, "by the keys of 1"},
		"by himself and a manifest key": {[]*trusttest.Key{evil, sim.Manifest}, "another role"},
		"by the old root alone":         {[]*trusttest.Key{sim.Root}, "by its own keys"},
		"by all the old roots":          {[]*trusttest.Key{sim.Root, sim.Standby}, "by its own keys"},
		"by a manifest key":             {[]*trusttest.Key{sim.Manifest}, "another role"},
	} {
		fork := sim.Fork()
		fork.Issue(takeover, c.signers...)
		stops(t, sim.Store(1), fork.Files(), trust.ErrUntrusted, "trust statement 2", c.says)
		if strings.Contains(name, "alone") {
			fork = sim.Fork()
			fork.Issue(takeover, sim.Root, evil)
			walks(t, sim.Store(1), fork.Files(), 2)
		}
	}
}

// TestChainOtherPurpose: what root keys signed for another end, or not at all,
// is no statement.
func TestChainOtherPurpose(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Issue(nil)
	data := sim.Files()["trust/2.json"]
	for says, sigs := range map[string][]byte{
		"another purpose": sim.Sign(manifest, data, sim.Root),
		"not signed":      nil,
		"bad":             sim.Sign(trust.PurposeStatement, []byte("x"), sim.Root),
	} {
		files := sim.Files()
		files["trust/2.json.sig"] = sigs
		stops(t, sim.Store(1), files, trust.ErrUntrusted, says)
	}
}

// TestChainEndless: 64 statements are walked, 65 are not, and a mirror that
// never ends is left after 65 reads.
func TestChainEndless(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	for range trust.MaxHops {
		sim.Issue(nil)
	}
	walks(t, sim.Store(1), sim.Files(), 1+trust.MaxHops)
	sim.Issue(nil)
	stops(t, sim.Store(1), sim.Files(), trust.ErrChain, "trust statement 66", "more than 64")
	walks(t, sim.Store(2), sim.Files(), 2+trust.MaxHops)

	endless, reads := trusttest.NewSim(t, "demo", issued), 0
	_, err := endless.Store(1).Walk(t.Context(), func(version int64) ([]byte, []byte, error) {
		reads++
		endless.Issue(nil)
		return trusttest.Read(endless.Files())(version)
	})
	if !errors.Is(err, trust.ErrChain) || reads != trust.MaxHops+1 {
		t.Errorf("Walk = %v after %d reads", err, reads)
	}
}

// TestChainExpired: dates of expiry do not end a walk, neither on the way nor
// at its end; the last one is passed on for the caller to judge.
func TestChainExpired(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	for _, role := range []string{trusttest.Manifest, trusttest.Root, trusttest.Manifest} {
		sim.At = sim.At.AddDate(5, 0, 0)
		sim.Rotate(role)
	}
	store := walks(t, sim.Store(1), sim.Files(), 4)
	data, now := []byte("data"), sim.At.AddDate(2, 0, 0)
	v, err := store.Open(manifest, data, sim.SignManifest(data), now)
	if err != nil || len(v.Doubts()) != 1 || !strings.Contains(v.Doubts()[0], "trust statement 4 expired on 2042-11-21") {
		t.Errorf("Doubts() = %q, %v", v.Doubts(), err)
	}
	if got := store.Statement().Expires; !got.Equal(sim.At.AddDate(1, 0, 0)) {
		t.Errorf("Expires = %v", got)
	}
}

// TestChainExpiredRoot: a root key signs the next statement while it is valid,
// by the signature's date, or not at all.
func TestChainExpiredRoot(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	short := trusttest.NewKey(t, "short", issued, func(c *packet.Config) { c.KeyLifetimeSecs = 30 * 86400 })
	sim.Issue(func(st *trust.Statement) {
		sim.Drop(st, sim.Root)
		sim.List(st, trusttest.Root, short)
	}, sim.Root, short)
	long := sim.NewKey(trusttest.Root)
	next := func(st *trust.Statement) {
		sim.Drop(st, short)
		sim.List(st, trusttest.Root, long)
	}
	fork := sim.Fork()
	fork.At = issued.AddDate(0, 0, 29)
	fork.Issue(next, short, long)
	walks(t, sim.Store(1), fork.Files(), 3)

	fork = sim.Fork()
	fork.At = issued.AddDate(0, 0, 31)
	fork.Issue(next, long)
	files := fork.Files()
	late := rawSignature(t, short.Entity.PrivateKey, files["trust/3.json"], fork.At, func(s *packet.Signature) {
		s.Notations[0].Value = []byte(trust.PurposeStatement)
	})
	files["trust/3.json.sig"] = append(files["trust/3.json.sig"], late...)
	stops(t, sim.Store(1), files, trust.ErrUntrusted, "by the keys of 2", "expired")
}

// TestChainRules: what is properly signed and still cannot follow.
func TestChainRules(t *testing.T) {
	kernel := object.OfBytes([]byte("kernel")).SHA256
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Revoke(sim.Manifest) // 2, epoch 2
	sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: kernel, Reason: "CVE-2026-0001", Since: issued}}
	})
	sim.At = issued.Add(time.Hour)
	sim.Issue(nil) // 4
	for name, c := range map[string]struct {
		change func(*trust.Statement)
		says   string
	}{
		"product changes":          {func(st *trust.Statement) { st.Product = "evil" }, `product "evil", before it was "demo"`},
		"product is hostile":       {func(st *trust.Statement) { st.Product = "\x1b[2J\u202e" + strings.Repeat("x", 999) }, "product"},
		"revocation vanishes":      {func(st *trust.Statement) { st.Revoked.Keys = nil }, "is no longer revoked"},
		"revocation is swapped":    {func(st *trust.Statement) { st.Revoked.Keys[0].Fingerprint = flip(st.Revoked.Keys[0].Fingerprint) }, "is no longer revoked"},
		"object revoked no longer": {func(st *trust.Statement) { st.Revoked.Objects = nil }, "object " + kernel.String() + " is no longer"},
		"all revocations vanish":   {func(st *trust.Statement) { st.Revoked = trust.Revoked{} }, "is no longer revoked"},
		"epoch falls":              {func(st *trust.Statement) { st.Epoch-- }, "epoch 1 after 2"},
		"epoch jumps":              {func(st *trust.Statement) { st.Epoch += 2 }, "epoch 4 after 2"},
		"epoch jumps far":          {func(st *trust.Statement) { st.Epoch = math.MaxInt64 }, "epoch 9223372036854775807"},
		"issued before":            {func(st *trust.Statement) { st.Issued = issued }, "issued 2026-11-21, before statement 4"},
	} {
		fork := sim.Fork()
		fork.Issue(c.change)
		t.Log(name)
		stops(t, sim.Store(1), fork.Files(), trust.ErrChain, "trust statement 5", c.says)
	}
	for name, change := range map[string]func(*trust.Statement){
		"epoch rises":       func(st *trust.Statement) { st.Epoch++ },
		"reason is revised": func(st *trust.Statement) { st.Revoked.Keys[0].Reason = "lost, then found" },
		"more is revoked": func(st *trust.Statement) {
			st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{SHA256: object.ID{1}, Reason: "x", Since: issued})
		},
	} {
		fork := sim.Fork()
		fork.Issue(change)
		t.Log(name)
		walks(t, sim.Store(1), fork.Files(), 5)
	}
}

// flip returns another fingerprint.
func flip(fpr trust.Fingerprint) trust.Fingerprint {
	return trust.Fingerprint(strings.Map(func(r rune) rune { return 'A' + (r+1)%6 }, string(fpr)))
}

// TestChainOversized: what is too large is not looked at, whoever signed it.
func TestChainOversized(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Issue(nil)
	files := sim.Files()
	large := append(files["trust/2.json"], bytes.Repeat([]byte(" "), trust.MaxStatementSize)...)
	files["trust/2.json"], files["trust/2.json.sig"] = large, sim.Sign(trust.PurposeStatement, large, sim.Root)
	stops(t, sim.Store(1), files, trust.ErrMalformed, "at most 65536")

	files = sim.Files()
	files["trust/2.json.sig"] = bytes.Repeat(files["trust/2.json.sig"], 1+trust.MaxSignatureSize/len(files["trust/2.json.sig"]))
	stops(t, sim.Store(1), files, trust.ErrUntrusted, "at most 16384")
}

// TestWalkErrors: a read that fails is no end of the chain.
func TestWalkErrors(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Issue(nil)
	broken := errors.New("wire is cut")
	store, err := sim.Store(1).Walk(t.Context(), func(version int64) ([]byte, []byte, error) {
		if version == 3 {
			return nil, nil, broken
		}
		return trusttest.Read(sim.Files())(version)
	})
	if !errors.Is(err, broken) || store != nil || !strings.Contains(err.Error(), "trust statement 3") {
		t.Errorf("Walk = %v, %v", store, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	store, err = sim.Store(1).Walk(ctx, func(version int64) ([]byte, []byte, error) {
		cancel()
		return trusttest.Read(sim.Files())(version)
	})
	if !errors.Is(err, context.Canceled) || store != nil {
		t.Errorf("cancelled: Walk = %v, %v", store, err)
	}
	files := sim.Files()
	files["trust/2.json"] = []byte("<html>")
	stops(t, sim.Store(1), files, trust.ErrMalformed, "trust statement 2")
}
