package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/medium/inspect"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

// mediumView is what a medium accepts.
type mediumView struct {
	Path      string    `json:"path"`
	Build     string    `json:"build"`
	Built     time.Time `json:"built"`
	Sites     []string  `json:"sites"`
	Product   string    `json:"product"`
	Arch      string    `json:"arch"`
	Channel   string    `json:"channel"`
	Statement int64     `json:"statement"`
	Epoch     int64     `json:"epoch"`
	Expires   time.Time `json:"expires"`
	// Roles have the keys, with their dates, and how many must sign.
	Roles       []keys.RoleReport `json:"roles"`
	Revoked     trust.Revoked     `json:"revoked,omitzero"`
	Floor       state.Floor       `json:"floor,omitzero"`
	RequireTime bool              `json:"require_time"`
	TrustRTC    bool              `json:"trust_rtc"`

	store *trust.Store
}

// readMedium reads what an image or a netboot folder tells its agent.
func readMedium(path string, now time.Time) (*mediumView, error) {
	text, statement, sigs, err := inspect.Records(path)
	if err != nil {
		return nil, err
	}
	s, err := settings.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	store, err := trust.Anchor(statement, sigs)
	if err != nil {
		return nil, fmt.Errorf("%s: trust statement: %w", path, err)
	}
	// A folder that holds no more than this statement.
	r, err := (&keys.Set{Dir: path, Store: store}).Report(nil, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &mediumView{
		Path: path, Build: s.Build, Built: s.Built, Sites: s.Site, Product: r.Product, Arch: s.Arch, Channel: s.Channel,
		Statement: r.Version, Epoch: r.Epoch, Expires: r.Expires, Roles: r.Roles, Revoked: r.Revoked,
		Floor: s.Floor, RequireTime: s.RequireTime, TrustRTC: s.TrustRTC, store: store,
	}, nil
}

// trustsTime tells whether anybody can tell the medium's agent the time.
func (m *mediumView) trustsTime() bool { return m.TrustRTC || m.httpsSite() }

func (m *mediumView) httpsSite() bool {
	return slices.ContainsFunc(m.Sites, func(s string) bool { return strings.HasPrefix(s, "https://") })
}

// print tells people what the medium accepts.
func (m *mediumView) print(w io.Writer) {
	rows := [][2]string{
		{"medium", fmt.Sprintf("%s, build %s of %s", m.Path, m.Build, day(m.Built))},
		{"product", fmt.Sprintf("%s, %s, channel %s", m.Product, m.Arch, m.Channel)},
	}
	for _, s := range m.Sites {
		rows = append(rows, [2]string{"asks", s})
	}
	rows = append(rows, [][2]string{
		{"statement", fmt.Sprintf("%d, expires %s, epoch %d; follows up to %d more", m.Statement, day(m.Expires), m.Epoch, trust.MaxHops)},
		{"floor", floorText(m.Floor)},
		{"time", m.clockText()},
	}...)
	for _, role := range m.Roles {
		rows = append(rows, [2]string{string(role.Role), fmt.Sprintf("%d of %d must sign", role.Threshold, len(role.Keys))})
		for _, k := range role.Keys {
			rows = append(rows, [2]string{"", fmt.Sprintf("%s  %s", k.Fingerprint, describeKey(k))})
		}
	}
	table(w, rows)
	printRevoked(w, m.Revoked)
}

// clockText says what the medium makes of clocks.
func (m *mediumView) clockText() string {
	var vouched []string
	if m.TrustRTC {
		vouched = append(vouched, "the firmware's clock")
	}
	if m.httpsSite() {
		vouched = append(vouched, "the https sites")
	}
	switch {
	case len(vouched) == 0 && m.RequireTime:
		return "required, but nobody can vouch for it: this medium boots nothing"
	case len(vouched) == 0:
		return "nobody vouches for it; what has expired is printed, and boots"
	case m.RequireTime:
		return "required, by the word of " + strings.Join(vouched, " or ") + "; what has expired is refused"
	}
	return "by the word of " + strings.Join(vouched, " or ") + ", then what has expired is refused; without, it is printed, and boots"
}
