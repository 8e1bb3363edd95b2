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
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds the JSON, in bytes: with its frame it fits a slot. A real
	// one has about 300.
	MaxSize = SlotSize - headerSize
	// maxName bounds the names of product, channel and entries, in bytes:
	// manifests have none that are longer.
	maxName = 64
	// maxTries bounds the entries that are counted. With names of 64 bytes
	// they take 1.1 KiB.
	maxTries = 16
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
	// Product and Channel tell whose state it is. That of another one counts as
	// none, since its versions are counted by others.
	Product string `json:"product"`
	Channel string `json:"channel"`
	Floor   Floor  `json:"floor,omitzero"`
	// Tries counts, by the name of an entry, the starts that nobody has called
	// a success: at most 16 entries. Nothing counts yet. The field is here so
	// that no older medium takes a newer one's state for garbage.
	Tries map[string]uint8 `json:"tries,omitzero"`
}

// Of tells whether s is the state of that product's channel.
func (s State) Of(product, channel string) bool {
	return s.Product == product && s.Channel == channel
}

// Raise returns s raised to t, of the same product and channel: the higher
// floor, and for each entry the higher count.
func (s State) Raise(t State) State {
	s.Floor = s.Floor.Raise(t.Floor)
	if len(t.Tries) == 0 {
		return s
	}
	tries := maps.Clone(t.Tries)
	for name, n := range s.Tries {
		tries[name] = max(tries[name], n)
	}
	s.Tries = tries
	return s
}

// Equal tells whether both say the same.
func (s State) Equal(t State) bool {
	return s.Of(t.Product, t.Channel) && s.Floor.Equal(t.Floor) && maps.Equal(s.Tries, t.Tries)
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
	for name := range s.Tries {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("tries of %.70q: want 1 to %d bytes", name, maxName)
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
