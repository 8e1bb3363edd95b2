package boot

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/trust"
)

// Medium is what the agent was burned with: what it is told and whom it believes.
type Medium struct {
	settings.Settings
	Store *trust.Store
}

// ReadMedium reads the medium's settings and trust statement from the root file
// system.
func ReadMedium(root fs.FS) (Medium, error) {
	data, err := fs.ReadFile(root, rooted(settings.Path))
	if err != nil {
		return Medium{}, fmt.Errorf("settings: %w", err)
	}
	s, err := settings.Decode(data)
	if err != nil {
		return Medium{}, err
	}
	statement := path.Join(rooted(settings.TrustDir), "statement.json")
	if data, err = fs.ReadFile(root, statement); err != nil {
		return Medium{}, fmt.Errorf("trust: %w", err)
	}
	sigs, err := fs.ReadFile(root, statement+".sig")
	if err != nil {
		return Medium{}, fmt.Errorf("trust: %w", err)
	}
	store, err := trust.Anchor(data, sigs)
	if err != nil {
		return Medium{}, err
	}
	return Medium{Settings: s, Store: store}, nil
}

// rooted makes an absolute path one for an fs.FS of the root.
func rooted(name string) string { return strings.TrimPrefix(name, "/") }
