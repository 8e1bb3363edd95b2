// Package settings is what a medium tells its agent: which sites to ask, what
// it is itself, when it was built, and what it does not accept any more. The
// builder writes it into the initramfs layer "keys and settings", the agent
// reads it once at start, and "farboot verify" reads the copy that lies on the
// medium for people.
//
// The main calls are [Encode] and [Decode]. The file lies on the medium, which
// is trusted as a whole; decoding is strict all the same, so that an agent of
// another version says what it does not know instead of guessing.
//
// Settings hold no secrets and no keys: those lie beside it under [TrustDir].
package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// Path is where the agent finds its settings.
	Path = "/etc/farboot/settings.json"
	// TrustDir holds the trust statement that the medium carries, as
	// statement.json and statement.json.sig.
	TrustDir = "/etc/farboot/trust"
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds the file, in bytes. A real one has about 500.
	MaxSize = 64 << 10
)

// Settings is the content of the file at [Path].
type Settings struct {
	Format int `json:"format"`
	// Site lists the base URLs of sites that hold the same files, tried in order.
	Site []string `json:"site"`
	// Arch and Channel must equal those of a manifest, or it is for others.
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Build is the medium's build id, as on the medium's marker file.
	Build string `json:"build"`
	// Built is the medium's epoch: a clock that shows less is wrong.
	Built time.Time `json:"built"`
	// Floor is what had been published when the medium was built. A machine
	// without a memory starts from it.
	Floor state.Floor `json:"floor,omitzero"`
	// RequireTime refuses everything where no time can be trusted.
	RequireTime bool `json:"require_time,omitzero"`
	// TrustRTC takes the firmware's clock for a time that can be trusted.
	TrustRTC bool `json:"trust_rtc,omitzero"`
}

// Encode returns the file's bytes. It refuses a floor that [Decode] would.
func Encode(s Settings) ([]byte, error) {
	s.Format = Format
	if err := s.Floor.Check(); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// Decode reads the file's bytes.
func Decode(data []byte) (Settings, error) {
	var s Settings
	if err := strictjson.Decode(data, MaxSize, &s); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	if s.Format != Format {
		return Settings{}, fmt.Errorf("settings: format %d, this agent reads format %d", s.Format, Format)
	}
	if len(s.Site) == 0 {
		return Settings{}, errors.New("settings: no site is named")
	}
	if err := s.Floor.Check(); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	return s, nil
}
