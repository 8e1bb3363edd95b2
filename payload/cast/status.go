package cast

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/farboot/farboot/payload/strictjson"
)

// Path is where a sender takes reports.
const Path = "/cast"

// MaxStatus bounds a report, in bytes.
const MaxStatus = 64 << 10

// ErrStatus is wrapped by every error of [DecodeStatus].
var ErrStatus = errors.New("not a report to a cast")

// Status is what a machine reports to who casts, by POST. It is a claim: nobody signs
// it.
type Status struct {
	// Format is 1.
	Format int `json:"format"`
	// Session is that of the frames, in hex.
	Session string `json:"session"`
	// Machine names it, in at most 64 printable characters of ASCII.
	Machine string `json:"machine"`
	// Stage is what it does, one of [Stages].
	Stage string `json:"stage"`
	// Error is why it failed.
	Error string `json:"error,omitzero"`
	// Have and Total count chunks, of those that it lacked when it began.
	Have  int `json:"have"`
	Total int `json:"total"`
	// Missing are the chunks that it lacks, and perhaps some more, as [ParseRuns]
	// takes them.
	Missing string `json:"missing,omitzero"`
	// Pieces and Lost count pieces of chunks that it got in whole or in part: those
	// that came by the cast, and those that did not.
	Pieces int64 `json:"pieces,omitzero"`
	Lost   int64 `json:"lost,omitzero"`
	// Repaired is how many bytes came by HTTP.
	Repaired int64 `json:"repaired,omitzero"`
}

// Stages of a machine. It has reached its end in the last two.
const (
	Receiving = "receive"
	Finishing = "finish" // all chunks are there
	Done      = "done"
	Failed    = "failed"
)

// Stages returns all stages.
func Stages() []string { return []string{Receiving, Finishing, Done, Failed} }

// Ended tells whether nothing more will become of it.
func (s Status) Ended() bool { return s.Stage == Done || s.Stage == Failed }

// Encode returns the report as it is sent. What is no text for a screen is replaced.
func (s Status) Encode() ([]byte, error) {
	s.Format, s.Machine, s.Error = 1, clean(s.Machine, 64), clean(s.Error, 512)
	return json.Marshal(s)
}

// DecodeStatus reads a report.
func DecodeStatus(data []byte) (Status, error) {
	var s Status
	if err := strictjson.Decode(data, MaxStatus, &s); err != nil {
		return Status{}, fmt.Errorf("%w: %w", ErrStatus, err)
	}
	id, err := hex.DecodeString(s.Session)
	_, bad := ParseRuns(s.Missing)
	switch {
	case bad != nil:
		err = bad
	case s.Format != 1:
		err = fmt.Errorf("format %d", s.Format)
	case err != nil || len(id) != len(Session{}):
		err = errors.New("no session")
	case s.Machine == "" || s.Machine != clean(s.Machine, 64) || s.Error != clean(s.Error, 512):
		err = errors.New("no name, or text that is not plain")
	case !slices.Contains(Stages(), s.Stage):
		err = errors.New("unknown stage")
	case min(int64(s.Have), int64(s.Total-s.Have), s.Pieces, s.Lost, s.Repaired) < 0:
		err = errors.New("a count below zero")
	}
	if err != nil {
		return Status{}, fmt.Errorf("%w: %w", ErrStatus, err)
	}
	return s, nil
}

// clean makes text printable ASCII of at most so many bytes.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// Runs are numbers from 0 on, as runs of which each begins behind the one before it,
// both ends included. As text they are "0-5,9,12-40".
type Runs []Run

// Run is one of them.
type Run struct{ First, Last int }

// maxRuns bounds runs: each takes up to 16 bytes as text, in a report.
const maxRuns = 2048

// RunsOf returns the numbers below n of which in is true. Where these are too many
// runs, those between which the fewest numbers lie become one.
func RunsOf(n int, in func(i int) bool) Runs {
	for apart := 1; ; apart *= 2 {
		var all Runs
		for i := range n {
			switch last := len(all) - 1; {
			case !in(i):
			case last >= 0 && i-all[last].Last <= apart:
				all[last].Last = i
			default:
				all = append(all, Run{i, i})
			}
		}
		if len(all) <= maxRuns {
			return all
		}
	}
}

// String writes runs as [ParseRuns] reads them.
func (r Runs) String() string {
	var b []byte
	for i, run := range r {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(run.First), 10)
		if run.Last > run.First {
			b = strconv.AppendInt(append(b, '-'), int64(run.Last), 10)
		}
	}
	return string(b)
}

// ParseRuns reads runs.
func ParseRuns(text string) (r Runs, err error) {
	if text == "" {
		return nil, nil
	}
	next := 0
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 31)
		b, errB := strconv.ParseUint(last, 10, 31)
		if errA != nil || errB != nil || int(a) < next || b < a || len(r) == maxRuns {
			return nil, errors.New("not runs of numbers")
		}
		r = append(r, Run{int(a), int(b)})
		next = int(b) + 1
	}
	return r, nil
}
