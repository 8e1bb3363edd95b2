// Package settings is what a medium tells its agent: which sites to ask and over
// which networks, what it is itself, when it was built, what it does not accept
// any more, whom to report to, and what to start where no site can be had. The
// builder writes it into the initramfs layer "keys and settings", the agent
// reads it once at start, and "farboot verify" reads the copy that lies on the
// medium for people.
//
// The main calls are [Encode] and [Decode]; [CheckReport], [CheckSyslog] and
// [CheckProxy] are for recipes as well. The file lies on the medium, which
// is trusted as a whole; decoding is strict all the same, so that an agent of
// another version says what it does not know instead of guessing.
//
// Settings hold no secrets and no keys: those lie beside it under [TrustDir].
package settings

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// Path is where the agent finds its settings.
	Path = "/etc/farboot/settings.json"
	// TrustDir holds the trust statement that the medium carries, as
	// statement.json and statement.json.sig.
	TrustDir = "/etc/farboot/trust"
	// ObjectDir holds the objects of [Settings.Fallback], each in a file named by
	// its SHA-256. They lie in memory from the start. What a site's manifest
	// names may be taken from there as well, once its hash has been checked.
	ObjectDir = "/farboot/objects"
	// ReportSite among [Settings.Report] stands for the site that answered.
	ReportSite = "site"
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds the file, in bytes. A real one has about 500; a fallback of
	// eight full command lines and a rescue with fifty keys fit.
	MaxSize = 64 << 10
	// MaxReport bounds the places that a report goes to: each may cost its
	// deadline at the end of a boot.
	MaxReport = 4
	// MaxFallback bounds the entries on the medium, tried one after the other.
	MaxFallback = 8
)

// Settings is the content of the file at [Path].
type Settings struct {
	Format int `json:"format"`
	// Site lists the base URLs of sites that hold the same files, tried in order.
	// Where there is none, nobody is asked, and the fallback starts at once.
	Site []string `json:"site,omitzero"`
	// Arch and Channel must equal those of a manifest, or it is for others.
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Build is the medium's build id, as on the medium's marker file.
	Build string `json:"build"`
	// Built is the medium's epoch: a clock that shows less is wrong.
	Built time.Time `json:"built"`
	// Lineage is the SHA-256 of trust statement 1, of which the medium's own
	// follows: whose memory the machine may have, see [state.State].
	Lineage object.ID `json:"lineage,omitzero"`
	// Floor is what had been published when the medium was built. A machine
	// without a memory starts from it.
	Floor state.Floor `json:"floor,omitzero"`
	// RequireTime refuses everything where no time can be trusted.
	RequireTime bool `json:"require_time,omitzero"`
	// TrustRTC takes the firmware's clock for a time that can be trusted.
	TrustRTC bool `json:"trust_rtc,omitzero"`
	// Networks are the ways to reach a site; none is every card with DHCP and
	// what routers announce.
	Networks []netconf.Network `json:"networks,omitzero"`
	// Proxy is for the networks that name none, "http://proxy.example:3128".
	Proxy string `json:"proxy,omitzero"`
	// Report lists where reports are posted to: URLs, and [ReportSite].
	Report []string `json:"report,omitzero"`
	// Syslog is where the log goes as it is written, "udp://log.example:514".
	Syslog string `json:"syslog,omitzero"`
	// Fallback lists what is started, in order, where no site has anything that
	// starts. Its objects lie in [ObjectDir].
	Fallback []manifest.Entry `json:"fallback,omitzero"`
	// Toolbox is the root file system for scripts and rescue that name none.
	Toolbox *Toolbox `json:"toolbox,omitzero"`
	// Limits tighten those of the agent; a manifest's are applied beside them.
	Limits *manifest.Limits `json:"limits,omitzero"`
}

// Toolbox is a root file system on the medium: a squashfs in a file that is
// named by its SHA-256.
type Toolbox struct {
	object.Ref
	// Place is [PlaceMemory] or [PlaceMedium].
	Place string `json:"place"`
}

// Where a toolbox lies.
const (
	// PlaceMemory is [ObjectDir], in memory from the start.
	PlaceMemory = "memory"
	// PlaceMedium is the medium itself, which is read on demand.
	PlaceMedium = "medium"
)

// Encode returns the file's bytes. It refuses what [Decode] would.
func Encode(s Settings) ([]byte, error) {
	s.Format = Format
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	data = append(data, '\n')
	if _, err := Decode(data); err != nil {
		return nil, err
	}
	return data, nil
}

// Decode reads the file's bytes.
func Decode(data []byte) (Settings, error) {
	var s Settings
	if err := strictjson.Decode(data, MaxSize, &s); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	if err := s.check(); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	return s, nil
}

// check tells what is wrong with s.
func (s Settings) check() error {
	switch {
	case s.Format != Format:
		return fmt.Errorf("format %d, this agent reads format %d", s.Format, Format)
	case len(s.Site) == 0 && len(s.Fallback) == 0:
		return errors.New("no site is named, and no entry")
	case len(s.Report) > MaxReport:
		return fmt.Errorf("%d places to report to, at most %d", len(s.Report), MaxReport)
	case len(s.Fallback) > MaxFallback:
		return fmt.Errorf("%d fallback entries, at most %d", len(s.Fallback), MaxFallback)
	}
	for i, where := range s.Report {
		if err := CheckReport(where); err != nil {
			return fmt.Errorf("report %d: %w", i+1, err)
		}
	}
	for i, e := range s.Fallback {
		if err := checkFallback(e); err != nil {
			return fmt.Errorf("fallback %d: %w", i+1, err)
		}
	}
	if err := s.checkToolbox(); err != nil {
		return err
	}
	if err := CheckProxy(s.Proxy); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if err := CheckSyslog(s.Syslog); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	return cmp.Or(s.Floor.Check(), manifest.CheckLimits(s.Limits), netconf.Check(s.Networks))
}

// checkFallback tells what is wrong with an entry on the medium. Agent and entry
// were made together, so that none is of a kind that the agent does not know.
func checkFallback(e manifest.Entry) error {
	switch {
	case e.Unknown != "":
		return fmt.Errorf("of the unknown kind %q", e.Unknown)
	case e.Flash != nil:
		return errors.New("an image does not lie in the memory of every machine")
	}
	return e.Validate()
}

// checkToolbox checks the toolbox, and that there is one where the medium's own
// entries need it.
func (s Settings) checkToolbox() error {
	if s.Toolbox == nil {
		for i, e := range s.Fallback {
			if e.Script != nil && e.Script.Toolbox == nil || e.Rescue != nil && e.Rescue.Toolbox == nil || e.Live != nil && e.Live.Toolbox == nil {
				return fmt.Errorf("fallback %d: a %s needs a toolbox, and there is none", i+1, e.Kind())
			}
		}
		return nil
	}
	if s.Toolbox.Place != PlaceMemory && s.Toolbox.Place != PlaceMedium {
		return fmt.Errorf("toolbox in %q, want %q or %q", s.Toolbox.Place, PlaceMemory, PlaceMedium)
	}
	return manifest.CheckToolbox(s.Toolbox.Ref)
}
