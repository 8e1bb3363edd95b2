// Package state is what a machine remembers from one boot to the next, and how
// it lies on a disk or in a firmware variable.
//
// [State] is the memory, [Encode] and [Decode] its JSON. [Seal] and [Unseal]
// put a frame around it that shows every damaged byte. [Load] and [Save] keep
// two frames on a [Device], an old and a new one: a machine that loses power in
// the middle of a Save finds one of them whole.
//
// What is saved can only rise, see [Floor.Raise]. A memory protects nobody from
// those who can write it: it is neither signed nor secret. Where on a machine
// it lies is package persist's.
package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds the JSON, in bytes: with its frame it fits a slot. A real
	// one has about 500.
	MaxSize = SlotSize - headerSize
	// maxName bounds the names of product, channel and entries, in bytes:
	// manifests have none that are longer.
	maxName = 64
	// maxTries bounds the entries that are counted. With names of 64 bytes
	// they take 2.1 KiB.
	maxTries = 16
	// maxBound bounds [Try.Bound], in seconds: a day.
	maxBound = 24 * 60 * 60
)

var (
	// ErrMalformed is wrapped by errors that say that bytes are no state.
	ErrMalformed = errors.New("malformed state")
	// ErrLower is wrapped by the error of saving what does not reach what was
	// saved before.
	ErrLower = errors.New("state would fall")
)

// State is what a machine remembers of one product's channel.
type State struct {
	Format int `json:"format"`
	// Product, Channel and Lineage tell whose state it is. That of another one
	// counts as none, since its versions are counted by others.
	Product string `json:"product"`
	Channel string `json:"channel"`
	// Lineage is the SHA-256 of trust statement 1, with which all began: who has
	// to start anew with other keys, under the old name, is another one. A medium
	// says of which it is; a site cannot.
	Lineage object.ID `json:"lineage,omitzero"`
	Floor   Floor     `json:"floor,omitzero"`
	// Tries are entries of the manifest that Floor names, those that came back
	// too soon: at most 16.
	Tries map[string]Try `json:"tries,omitzero"`
	// Crashes counts the boots in a row that ended in a crash of the agent.
	Crashes uint8 `json:"crashes,omitzero"`
}

// Try is what became of an entry that is watched.
type Try struct {
	// Failures counts the starts in a row that came back too soon.
	Failures uint8 `json:"failures,omitzero"`
	// Started is when it was started last, in seconds since 1970 by the firmware's
	// clock, right or wrong; 0 where it is known what became of that.
	Started int64 `json:"started,omitzero"`
	// Bound is how soon after Started is too soon, in seconds.
	Bound int64 `json:"bound,omitzero"`
}

// Of tells whether s is the state of that product's channel.
func (s State) Of(product, channel string, lineage object.ID) bool {
	return s.Product == product && s.Channel == channel && s.Lineage == lineage
}

// Raise returns s raised to t, of the same product's channel: the higher
// floor with its tries, and of equal manifests for each entry the try with more
// failures or, of as many, the later one; the larger number of crashes.
func (s State) Raise(t State) State {
	mine, its := s.Floor.manifest(), t.Floor.manifest()
	s.Floor, s.Crashes = s.Floor.Raise(t.Floor), max(s.Crashes, t.Crashes)
	switch {
	case mine != its && s.Floor.manifest() == its:
		s.Tries = maps.Clone(t.Tries)
	case mine == its && len(t.Tries) > 0:
		tries := maps.Clone(t.Tries)
		for name, mine := range s.Tries {
			if its := tries[name]; cmp.Or(cmp.Compare(mine.Failures, its.Failures), cmp.Compare(mine.Started, its.Started)) > 0 {
				tries[name] = mine
			}
		}
		s.Tries = tries
	}
	return s
}

// Equal tells whether both say the same.
func (s State) Equal(t State) bool {
	return s.Of(t.Product, t.Channel, t.Lineage) && s.Floor.Equal(t.Floor) && maps.Equal(s.Tries, t.Tries) && s.Crashes == t.Crashes
}

// check tells what no State can be.
func (s State) check() error {
	for _, name := range []string{s.Product, s.Channel} {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("product %.70q, channel %.70q: want 1 to %d bytes each", s.Product, s.Channel, maxName)
		}
	}
	if len(s.Tries) > maxTries {
		return fmt.Errorf("tries of %d entries, at most %d are counted", len(s.Tries), maxTries)
	}
	for name, try := range s.Tries {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("tries of %.70q: want 1 to %d bytes", name, maxName)
		}
		if try.Started < 0 || try.Bound < 0 || try.Bound > maxBound {
			return fmt.Errorf("tries of %.70q: started %d, bound %d s", name, try.Started, try.Bound)
		}
	}
	return s.Floor.Check()
}

// Encode returns the JSON of s, dates in UTC and to the second. What Decode
// would refuse is an error.
func Encode(s State) ([]byte, error) {
	s.Format = Format
	s.Floor.Issued = s.Floor.Issued.UTC().Truncate(time.Second)
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := Decode(data); err != nil {
		return nil, err
	}
	return data, nil
}

// Decode reads the JSON of a state.
func Decode(data []byte) (State, error) {
	var s State
	if err := strictjson.Decode(data, MaxSize, &s); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.Format != Format {
		return State{}, fmt.Errorf("%w: format %d, this agent reads format %d", ErrMalformed, s.Format, Format)
	}
	if err := s.check(); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return s, nil
}
