// Package settings is what a medium tells its agent: which sites to ask, where
// to print, and when the medium was built. The builder writes it into the
// initramfs layer "keys and settings", the agent reads it once at start.
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
}

// Encode returns the file's bytes.
func Encode(s Settings) ([]byte, error) {
	s.Format = Format
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
	return s, nil
}
