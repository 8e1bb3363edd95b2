package cast

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The bytes on the wire, as the comment on [magic] has them.
func TestFrame(t *testing.T) {
	session := Session{1, 2, 3, 4, 5, 6, 7, 8}
	for want, f := range map[string]Frame{
		"66637374 01 01 0000 0102030405060708 00010203 00000007 616263": {Session: session, Chunk: 0x10203, Piece: 7, Data: []byte("abc")},
		"66637374 01 02 0000 0102030405060708 02 03 1ce8 00000000":      {Session: session, Word: Word{State: Sending, Pass: 3, Port: 7400}},
	} {
		got := f.Append(nil)
		if hex.EncodeToString(got) != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%x, want %s", got, want)
		}
		back, err := DecodeFrame(got)
		if diff := cmp.Diff(f, back); err != nil || diff != "" {
			t.Error(err, diff)
		}
		for i := range 8 { // magic, version, kind, kept
			bad := bytes.Clone(got)
			bad[i] ^= 0x80
			if _, err := DecodeFrame(bad); !errors.Is(err, ErrFrame) {
				t.Errorf("byte %d: %v", i, err)
			}
		}
		if _, err := DecodeFrame(got[:headSize-1]); !errors.Is(err, ErrFrame) {
			t.Error(err)
		}
	}
}

// What DecodeFrame takes is what Append writes.
func FuzzFrame(f *testing.F) {
	f.Add(Frame{Chunk: 1, Piece: 2, Data: []byte("abc")}.Append(nil))
	f.Add(Frame{Word: Word{State: Over, Pass: 1, Port: 9}}.Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := DecodeFrame(data)
		if err != nil {
			return
		}
		if got := frame.Append(nil); !bytes.Equal(got, data) {
			t.Errorf("%x came back as %x", data, got)
		}
	})
}

func TestParseGroup(t *testing.T) {
	if g, err := ParseGroup("239.255.0.1:7400"); err != nil || g.Port() != 7400 {
		t.Error(g, err)
	}
	for _, bad := range []string{"", "239.255.0.1", "10.0.0.1:7400", "224.0.0.1:7400", "239.255.0.1:80", "[ff02::1]:7400", "239.255.0.1:07400", "room:7400", "255.255.255.255:7400"} {
		if g, err := ParseGroup(bad); err == nil {
			t.Errorf("%q is %v", bad, g)
		}
	}
}

// One defect each.
func TestStatusRefuses(t *testing.T) {
	good := Status{Session: "0102030405060708", Machine: "room-1", Stage: Receiving, Have: 1, Total: 3, Missing: "0-4,9"}
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeStatus(data); err != nil || back.Missing != good.Missing {
		t.Error(back, err)
	}
	for name, edit := range map[string][2]string{
		"format":      {`"format":1`, `"format":2`},
		"session":     {`0708"`, `07"`},
		"name":        {`room-1`, `room\u001b`},
		"no name":     {`room-1`, ``},
		"long name":   {`room-1`, strings.Repeat("n", 65)},
		"stage":       {`"receive"`, `"asleep"`},
		"have":        {`"have":1`, `"have":-1`},
		"more":        {`"have":1`, `"have":4`},
		"field":       {`"have":1`, `"have":1,"x":1`},
		"runs":        {`0-4,9`, `4-0,9`},
		"back":        {`0-4,9`, `9,0-4`},
		"minus":       {`0-4,9`, `-4`},
		"large":       {`0-4,9`, `99999999999`},
		"many":        {`0-4,9`, strings.TrimSuffix(strings.Repeat("1,", 3000), ",")},
		"error":       {`"have":1`, `"error":"a\u0007","have":1`},
		"long error":  {`"have":1`, `"error":"` + strings.Repeat("e", 513) + `","have":1`},
		"large total": {`"total":3`, `"total":99999999999999999999`},
	} {
		bad := strings.Replace(string(data), edit[0], edit[1], 1)
		if bad == string(data) {
			t.Errorf("%s: nothing was replaced", name)
		}
		if s, err := DecodeStatus([]byte(bad)); !errors.Is(err, ErrStatus) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// Runs have no end that a report does not hold: they say more than is missing rather
// than less.
func TestRuns(t *testing.T) {
	for _, n := range []int{0, 1, 100, 100_000} {
		runs := RunsOf(n, func(i int) bool { return i%3 == 0 })
		if len(runs) > maxRuns {
			t.Errorf("%d runs", len(runs))
		}
		in := make([]bool, n)
		for _, r := range runs {
			for i := r.First; i <= r.Last; i++ {
				in[i] = true
			}
		}
		for i := range n {
			if i%3 == 0 && !in[i] {
				t.Fatalf("%d of %d is left out", i, n)
			}
		}
		data, err := Status{Session: "0102030405060708", Machine: "m", Stage: Done, Missing: runs.String()}.Encode()
		if err != nil || len(data) > MaxStatus {
			t.Errorf("%d bytes, %v", len(data), err)
		}
		if back, err := ParseRuns(runs.String()); err != nil || !cmp.Equal(back, runs) {
			t.Error(err)
		}
	}
}

// What DecodeStatus takes is plain.
func FuzzStatus(f *testing.F) {
	data, _ := Status{Session: "0102030405060708", Machine: "m", Stage: Failed, Error: "why", Missing: "1-2"}.Encode()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeStatus(data)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeStatus(again)
		if diff := cmp.Diff(s, back); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
}
