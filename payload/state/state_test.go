package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/object"
)

// hash stands for a manifest's.
func hash(text string) object.ID { return object.OfBytes([]byte(text)).SHA256 }

// day returns a date of this month.
func day(n int) time.Time { return time.Date(2026, 11, n, 12, 0, 0, 0, time.UTC) }

// sample returns a state of one version of the manifest.
func sample(version int64) State {
	return State{
		Format: Format, Product: "demo", Channel: "stable", Lineage: hash("statement 1"),
		Floor: Floor{Statement: 2, StatementSHA256: hash("statement 2"), Epoch: 1, Version: version, SHA256: hash("manifest"), Issued: day(1)},
		Tries: map[string]Try{"installer": {Failures: 2, Started: 1_800_000_000, Bound: 180}},
	}
}

func TestEncodeDecode(t *testing.T) {
	want := sample(12)
	odd := want
	odd.Floor.Issued = want.Floor.Issued.Add(999 * time.Millisecond).In(time.FixedZone("Tokyo", 9*3600))
	for _, s := range []State{want, odd} {
		data, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || !got.Equal(want) {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	if data, err := Encode(State{Product: "demo", Channel: "stable"}); err != nil || string(data) != `{"format":1,"product":"demo","channel":"stable"}` {
		t.Errorf("Encode = %s, %v", data, err)
	}
}

func TestRefusals(t *testing.T) {
	for phrase, spoil := range map[string]func(*State){
		`product ""`:         func(s *State) { s.Product = "" },
		`channel ""`:         func(s *State) { s.Channel = "" },
		"1 to 64 bytes":      func(s *State) { s.Product = strings.Repeat("x", 65) },
		"below zero":         func(s *State) { s.Floor.Version = -1 },
		"no trust statement": func(s *State) { s.Floor.Statement = 0 },
		"epoch 3 by":         func(s *State) { s.Floor.Epoch = 3 },
		"belong together":    func(s *State) { s.Floor.SHA256 = object.ID{} },
		"2000 to 2199":       func(s *State) { s.Floor.Issued = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
		"issued 1999":        func(s *State) { s.Floor.Issued = time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) },
		"tries of 17":        func(s *State) { s.Tries = tries(17) },
		"want lower-case":    func(s *State) { s.Tries = map[string]Try{"A": {}} },
		"tries of \"xxxxx":   func(s *State) { s.Tries = map[string]Try{strings.Repeat("x", 65): {}} },
		"started -1":         func(s *State) { s.Tries = map[string]Try{"x": {Started: -1}} },
		"bound 86401 s":      func(s *State) { s.Tries = map[string]Try{"x": {Bound: maxBound + 1}} },
	} {
		s := sample(1)
		spoil(&s)
		if data, err := Encode(s); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Encode = %s, %v; want %q", data, err, phrase)
		}
	}
	for text, phrase := range map[string]string{
		`{"format":2,"product":"demo","channel":"stable"}`:                                "format 2",
		`{"format":1,"product":"demo","channel":"stable","x":1}`:                          "unknown field",
		`{"format":1,"product":"demo","channel":"stable","tries":{"x":{"failures":256}}}`: "tries",
		`{"format":1,"product":"demo","channel":"stable"}` + strings.Repeat(" ", MaxSize): "bytes, at most",
	} {
		if _, err := Decode([]byte(text)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Decode(%.80s) = %v; want %q", text, err, phrase)
		}
	}
}

// tries counts n entries with names as long as they may be.
func tries(n int) map[string]Try {
	m := map[string]Try{}
	for i := range n {
		m[strings.Repeat("x", maxName-2)+string([]byte{'a' + byte(i)})+"x"] = Try{Failures: 255, Started: math.MaxInt64, Bound: maxBound}
	}
	return m
}

// TestLargestFits: what Encode takes, a slot holds.
func TestLargestFits(t *testing.T) {
	s := State{
		Product: strings.Repeat("<", maxName), Channel: strings.Repeat("\x01", maxName), // as "\u003c", "\u0001"
		Lineage: hash("1"),
		Floor:   Floor{Statement: math.MaxInt64, StatementSHA256: hash("s"), Epoch: math.MaxInt64, Version: math.MaxInt64, SHA256: hash("x"), Issued: latest.Add(-time.Second)},
		Tries:   tries(maxTries),
	}
	frame, err := Seal(s, math.MaxUint64-1)
	if err != nil || len(frame) > SlotSize {
		t.Fatalf("%d bytes, %v", len(frame), err)
	}
	t.Logf("the largest frame has %d bytes", len(frame))
	if got, sequence, err := Unseal(frame); err != nil || sequence != math.MaxUint64-1 || !got.Equal(s) {
		t.Errorf("Unseal = %+v, %d, %v", got, sequence, err)
	}
}

// hashed returns f with a statement of these bytes.
func hashed(f Floor, text string) Floor {
	f.StatementSHA256 = hash(text)
	return f
}

func TestFloorRaise(t *testing.T) {
	floor := func(statement, epoch, version int64, text string, d int) Floor {
		return Floor{Statement: statement, Epoch: epoch, Version: version, SHA256: hash(text), Issued: day(d)}
	}
	base := floor(2, 2, 10, "a", 10)
	for _, test := range []struct {
		name    string
		g, want Floor
	}{
		{"nothing", Floor{}, base},
		{"itself", base, base},
		{"statement alone", Floor{Statement: 3}, Floor{Statement: 3, Epoch: 2, Version: 10, SHA256: hash("a"), Issued: day(10)}},
		{"higher version", floor(2, 2, 11, "b", 11), floor(2, 2, 11, "b", 11)},
		{"higher version, lower statement", floor(1, 2, 11, "b", 11), floor(2, 2, 11, "b", 11)},
		{"higher version, dated earlier", floor(2, 2, 11, "b", 9), floor(2, 2, 11, "b", 10)},
		{"lower version, dated later", floor(2, 2, 9, "b", 11), floor(2, 2, 10, "a", 11)},
		{"same version, other bytes", floor(2, 2, 10, "b", 10), base},
		{"lower epoch, fast-forward", floor(2, 1, math.MaxInt64, "b", 30), base},
		{"higher epoch, back from fast-forward", floor(3, 3, 1, "b", 1), floor(3, 3, 1, "b", 1)},
		{"higher epoch, lower statement", floor(1, 3, 1, "b", 1), floor(2, 3, 1, "b", 1)},
		{"same statement, its hash", Floor{Statement: 2, StatementSHA256: hash("2")}, hashed(base, "2")},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, base.Raise(test.g)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			again := base.Raise(test.g)
			if !again.Raise(test.g).Equal(again) || !again.Raise(base).Equal(again) {
				t.Error("raising twice is not raising once")
			}
		})
	}
	if got := (Floor{}).Raise(base); !got.Equal(base) {
		t.Errorf("from nothing: %+v", got)
	}
	own, next := hashed(base, "own"), hashed(floor(3, 3, 1, "b", 11), "next")
	for name, c := range map[string]struct{ got, want Floor }{
		"a fork":                      {own.Raise(hashed(base, "fork")), own},
		"next statement":              {own.Raise(next), next},
		"older statement":             {next.Raise(own), next},
		"higher epoch, old statement": {own.Raise(floor(1, 3, 1, "b", 1)), hashed(floor(2, 3, 1, "b", 1), "own")},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestStateRaise(t *testing.T) {
	a, b := sample(3), sample(2)
	a.Tries = map[string]Try{"x": {Failures: 1}, "y": {Failures: 5}}
	b.Tries = map[string]Try{"x": {Failures: 4}, "z": {Failures: 1}}
	for name, got := range map[string]State{"up": b.Raise(a), "down": a.Raise(b)} {
		if diff := cmp.Diff(a, got); diff != "" {
			t.Errorf("%s: tries of another manifest count (-want +got)\n%s", name, diff)
		}
	}
	b.Floor = a.Floor
	b.Tries["y"] = Try{Failures: 5, Started: 7}
	want := sample(3)
	want.Tries = map[string]Try{"x": {Failures: 4}, "y": {Failures: 5, Started: 7}, "z": {Failures: 1}}
	if diff := cmp.Diff(want, a.Raise(b)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(a.Tries) != 2 || len(b.Tries) != 3 {
		t.Error("Raise changed what it was given")
	}
}

func TestUnsealRefuses(t *testing.T) {
	frame, err := Seal(sample(1), 7)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		for bit := range 8 {
			bad := bytes.Clone(frame)
			bad[i] ^= 1 << bit
			if s, _, err := Unseal(bad); !errors.Is(err, ErrMalformed) {
				t.Fatalf("byte %d, bit %d: %+v, %v", i, bit, s, err)
			}
		}
		if s, _, err := Unseal(frame[:i]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %+v, %v", i, s, err)
		}
	}
	for _, n := range []uint64{0, math.MaxUint64} {
		if _, err := Seal(sample(1), n); !errors.Is(err, ErrMalformed) {
			t.Errorf("Seal with number %d: %v", n, err)
		}
		// Somebody computes the hash as well.
		bad := bytes.Clone(frame)
		binary.LittleEndian.PutUint64(bad[8:], n)
		sum := sumOf(bad)
		copy(bad[sumOffset:], sum[:])
		if _, _, err := Unseal(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("Unseal with number %d: %v", n, err)
		}
	}
}

func FuzzState(f *testing.F) {
	frame, err := Seal(sample(12), 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add(frame[headerSize:])
	f.Add([]byte(`{"format":1,"product":"demo","channel":"stable","floor":{"statement":1},"tries":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			s, _, err = Unseal(data)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v is not ErrMalformed", err)
			}
			return
		}
		frame, err := Seal(s, 1)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if again, _, err := Unseal(frame); err != nil || !again.Equal(s) {
			t.Errorf("%+v comes back as %+v, %v", s, again, err)
		}
		if !s.Raise(s).Equal(s) || Follows(s, s) != nil {
			t.Errorf("%+v does not reach itself", s)
		}
	})
}

// Of two places the one that counted more crashes is right: the other was not
// there at one of them.
func TestCrashesRaise(t *testing.T) {
	a, b := sample(3), sample(3)
	a.Crashes, b.Crashes = 2, 5
	if x, y := a.Raise(b), b.Raise(a); x.Crashes != 5 || y.Crashes != 5 {
		t.Errorf("raised to %d and %d, want 5", x.Crashes, y.Crashes)
	}
	if a.Equal(b) {
		t.Error("2 crashes are 5")
	}
}
