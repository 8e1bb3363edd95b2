package fetch

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// TestBetter asks whether one mirror, which brings 1000 bytes/s, is left for
// another, with a tenth of an object of 1 000 000 bytes there already.
func TestBetter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		other mirror
		try   try
		alone bool
		rate  int64
		want  bool
	}{
		{"twice as fast", mirror{rate: 2000}, try{}, false, 1000, false},
		{"faster", mirror{rate: 2001}, try{}, false, 1000, true},
		{"faster, asked before", mirror{rate: 2001}, try{had: true}, false, 1000, true},
		{"faster, failed once", mirror{rate: 2001, failures: 1}, try{}, false, 1000, true},
		{"faster, but resting", mirror{rate: 2001, rests: time.Now().AddDate(90, 0, 0)}, try{}, false, 1000, false},
		{"faster, but out", mirror{rate: 2001}, try{out: true}, false, 1000, false},
		{"faster, but condemned", mirror{rate: 2001, condemned: true}, try{}, false, 1000, false},
		{"faster, but it would start anew", mirror{rate: 2001}, try{}, true, 1000, false},
		{"much faster, and it would start anew", mirror{rate: 2500}, try{}, true, 1000, true},
		{"unmeasured", mirror{}, try{}, false, 1000, true},
		{"unmeasured, had its turn", mirror{}, try{had: true}, false, 1000, false},
		{"unmeasured, failed", mirror{failures: 1}, try{}, false, 1000, false},
		{"unmeasured, but out", mirror{}, try{out: true}, false, 1000, false},
		{"unmeasured, but condemned", mirror{condemned: true}, try{}, false, 1000, false},
		{"unmeasured, the rest takes 30 s", mirror{}, try{}, false, 30_000, true},
		{"unmeasured, the rest takes less", mirror{}, try{}, false, 30_001, false},
		{"nothing comes", mirror{rate: 1}, try{}, false, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			tt.other.measured, tt.other.failed = now, now
			if tt.other.rests.IsZero() {
				tt.other.rests = now.Add(-time.Second)
			}
			present := &mirror{measured: now}
			m := NewMirrors(New(DefaultLimits()), nil)
			m.all = []*mirror{present, &tt.other}
			ref := object.Ref{Size: 1000_000}
			j := &job{Mirrors: m, alone: tt.alone, size: ref.Size, left: func() int64 { return 900_000 }}
			j.tries = map[*mirror]*try{&tt.other: &tt.try}
			if got := j.better(present, tt.rate); (got != nil) != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, got != nil, tt.want)
			}
		})
	}
}

// TestAlone has mirrors that cut, at a time when objects are not to be mixed:
// each gets its turn, and then the present one is kept. Once somebody is
// condemned, objects are mixed again.
func TestAlone(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{evil.Cut(100_000)}, faults{evil.First(2, evil.Cut(100_000))})
		m.alone = true
		fetch := func(want string) {
			t.Helper()
			if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
				t.Error(err)
			}
			if got := ranges(servers[0]) + " / " + ranges(servers[1]); got != want {
				t.Errorf("ranges %q, want %q", got, want)
			}
			time.Sleep(time.Hour)
		}
		fetch("- / - bytes=100000- bytes=200000-")
		m.Add("http://c")
		m.Condemn("http://c", errors.New("test"))
		fetch("- - / - bytes=100000- bytes=200000- bytes=100000-")
	})
}

// TestCulpritFound wants an object to be mixed again once its culprit is known.
func TestCulpritFound(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{evil.Flip(1)}, faults{evil.Cut(150_000)}, nil)
		m.alone = true
		if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
			t.Error(err)
		}
		if got := ranges(servers[1]) + " / " + ranges(servers[2]); got != "- / bytes=150000-" || condemned(m) != "a" {
			t.Errorf("ranges %q, condemned %q", got, condemned(m))
		}
	})
}
