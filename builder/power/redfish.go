package power

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// redfish speaks the part of DMTF DSP0266 that it takes to switch a machine: the
// service's root, a session, the system, its reset and its boot override. That is
// six requests, for which a library of all schemas would bring 50 times as much
// code, and errors without classes.
type redfish struct {
	Config
	client *client
}

func newRedfish(c Config) (*redfish, error) {
	return &redfish{c, newClient(c, "443", "80")}, nil
}

// link is a reference to another resource.
type link struct {
	ID string `json:"@odata.id"`
}

// service is the part of a ServiceRoot that counts.
type service struct {
	Systems link
	Links   struct{ Sessions link }
}

// computer is the part of a ComputerSystem that counts.
type computer struct {
	ID         string `json:"@odata.id"`
	Etag       string `json:"@odata.etag"`
	PowerState string
	Actions    struct {
		Reset reset `json:"#ComputerSystem.Reset"`
	}
	Boot struct {
		Targets []string `json:"BootSourceOverrideTarget@Redfish.AllowableValues"`
	}
}

// reset is an action, with what it takes: in place, or at another resource.
type reset struct {
	Target string   `json:"target"`
	Types  []string `json:"ResetType@Redfish.AllowableValues"`
	Info   string   `json:"@Redfish.ActionInfo"`
}

// session is one conversation with a service.
type session struct {
	*redfish
	ctx   context.Context
	auth  http.Header
	where string // of the session at the service; empty with basic authentication
}

// State implements [Driver].
func (r *redfish) State(ctx context.Context) (State, error) {
	var state State
	err := r.with(ctx, func(s *session, c *computer) error {
		switch c.PowerState {
		case "On":
			state = IsOn
		case "Off":
			state = IsOff
		case "":
			return fmt.Errorf("%w: the service does not say whether the system is on", ErrUnsupported)
		default: // PoweringOn, PoweringOff, Paused
			state = State(strings.ToLower(fmt.Sprintf("%+.20q", c.PowerState)))
		}
		return nil
	})
	return state, err
}

// resets lists for each action the types of a reset that do it, the best first.
var resets = map[Action][]string{
	On:    {"On", "ForceOn"},
	Off:   {"ForceOff"},
	Cycle: {"PowerCycle", "FullPowerCycle"},
	Reset: {"ForceRestart", "PowerCycle"},
}

// Do implements [Driver].
func (r *redfish) Do(ctx context.Context, a Action) error {
	return r.with(ctx, func(s *session, c *computer) error {
		err := s.reset(c, a)
		if a != Cycle || !errors.Is(err, ErrUnsupported) {
			return err
		}
		if err := s.reset(c, Off); err != nil {
			return err
		}
		if err := s.untilOff(c.ID); err != nil {
			return err
		}
		return s.reset(c, On)
	})
}

// reset asks for the first type of a reset that the system has and that does a.
func (s *session) reset(c *computer, a Action) error {
	x := c.Actions.Reset
	if x.Target == "" {
		return fmt.Errorf("%w: the system has no action to reset it", ErrUnsupported)
	}
	types := x.Types
	if len(types) == 0 && x.Info != "" {
		var info struct {
			Parameters []struct {
				Name            string
				AllowableValues []string
			}
		}
		if err := s.get(x.Info, &info); err != nil {
			return err
		}
		for _, p := range info.Parameters {
			if p.Name == "ResetType" {
				types = p.AllowableValues
			}
		}
	}
	for _, kind := range resets[a] {
		if len(types) == 0 || slices.Contains(types, kind) {
			return s.send(http.MethodPost, x.Target, map[string]string{"ResetType": kind}, nil)
		}
	}
	return fmt.Errorf("%w: %s: the system takes %+.200q", ErrUnsupported, a, types)
}

// pollTime is the pause between two questions whether a machine is off.
const pollTime = time.Second

// untilOff waits until a system is off.
func (s *session) untilOff(id string) error {
	for {
		var c computer
		if err := s.get(id, &c); err != nil {
			return err
		}
		if c.PowerState == "Off" {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return classify(s.ctx, fmt.Errorf("it is %q still: %w", c.PowerState, s.ctx.Err()))
		case <-time.After(pollTime):
		}
	}
}

// targets are Redfish's names of devices.
var targets = map[Device]string{PXE: "Pxe", HTTP: "UefiHttp", Disk: "Hdd", CD: "Cd"}

// BootNext implements [Driver].
func (r *redfish) BootNext(ctx context.Context, d Device) error {
	return r.with(ctx, func(s *session, c *computer) error {
		if have := c.Boot.Targets; len(have) > 0 && !slices.Contains(have, targets[d]) {
			return fmt.Errorf("%w: %s: the system takes %+.200q", ErrUnsupported, d, have)
		}
		header := http.Header{}
		if c.Etag != "" {
			header.Set("If-Match", c.Etag) // some demand it
		}
		boot := map[string]string{"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": targets[d]}
		return s.send(http.MethodPatch, c.ID, map[string]any{"Boot": boot}, header)
	})
}

// with calls f within a session, with the system that is meant.
func (r *redfish) with(ctx context.Context, f func(*session, *computer) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.client.limit)
	defer cancel()
	defer r.client.http.CloseIdleConnections()
	s := &session{redfish: r, ctx: ctx, auth: http.Header{}}
	var root service
	if err := s.get("/redfish/v1/", &root); err != nil {
		return err
	}
	if err := s.open(root); err != nil {
		return err
	}
	defer s.close()
	c, err := s.system(root)
	if err != nil {
		return err
	}
	return f(s, c)
}

// open logs in: by a session, as the standard wants it, or where the service has
// none by basic authentication. A service that says no is not asked again in the
// other way: that would count as a second attempt.
func (s *session) open(root service) error {
	basic := func() error {
		req := http.Request{Header: s.auth}
		req.SetBasicAuth(s.User, s.Secret)
		return nil
	}
	if root.Links.Sessions.ID == "" {
		return basic()
	}
	if err := local(root.Links.Sessions.ID); err != nil {
		return err
	}
	a, err := s.request(http.MethodPost, root.Links.Sessions.ID, map[string]string{"UserName": s.User, "Password": s.Secret}, nil)
	if err != nil {
		return err
	}
	switch a.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return basic()
	case http.StatusBadRequest: // how some say that a password is wrong
		a.status = http.StatusUnauthorized
	}
	token := a.header.Get("X-Auth-Token")
	if a.status/100 != 2 {
		return a.refusal()
	}
	if token == "" {
		return fmt.Errorf("%w: a session without a token", ErrFailed)
	}
	s.auth.Set("X-Auth-Token", token)
	if s.where = a.header.Get("Location"); s.where == "" {
		var made link
		json.Unmarshal(a.body, &made) //nolint:errcheck // then it ends by itself
		s.where = made.ID
	}
	s.where = strings.TrimPrefix(s.where, s.client.base)
	return nil
}

// close ends the session, since services have few; it is what is left to do even
// if time is over.
func (s *session) close() {
	if s.where == "" || local(s.where) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), dialTime)
	defer cancel()
	s.client.do(ctx, http.MethodDelete, s.where, nil, s.auth) //nolint:errcheck // it ends by itself
}

// system returns the system that the recipe names, or the only one.
func (s *session) system(root service) (*computer, error) {
	var all struct{ Members []link }
	if err := s.get(root.Systems.ID, &all); err != nil {
		return nil, err
	}
	var ids []string
	for _, m := range all.Members {
		id := path.Base(m.ID)
		if ids = append(ids, id); id != s.System && (s.System != "" || len(all.Members) != 1) {
			continue
		}
		c := &computer{}
		if err := s.get(m.ID, c); err != nil {
			return nil, err
		}
		c.ID = m.ID
		return c, nil
	}
	if s.System != "" {
		return nil, fmt.Errorf("%w: the service has no system %q, but %+.200q", ErrUnsupported, s.System, ids)
	}
	return nil, fmt.Errorf(`%w: the service has the systems %+.200q; "system:" says which`, ErrUnsupported, ids)
}

// get reads a resource.
func (s *session) get(id string, to any) error {
	a, err := s.request(http.MethodGet, id, nil, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %w", id, a.refusal())
	}
	if err := json.Unmarshal(a.body, to); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFailed, id, err)
	}
	if c, ok := to.(*computer); ok && c.Etag == "" {
		c.Etag = a.header.Get("ETag")
	}
	return nil
}

// send changes something.
func (s *session) send(method, id string, body any, header http.Header) error {
	a, err := s.request(method, id, body, header)
	if err != nil {
		return err
	}
	if a.status/100 != 2 {
		return fmt.Errorf("%s: %w", id, a.refusal())
	}
	return nil
}

// request makes one request to a resource of the service.
func (s *session) request(method, id string, body any, header http.Header) (answer, error) {
	if err := local(id); err != nil {
		return answer{}, err
	}
	var data []byte
	all := s.auth.Clone()
	all.Set("Accept", "application/json")
	all.Set("OData-Version", "4.0")
	if body != nil {
		data, _ = json.Marshal(body) // maps of strings
		all.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		all[name] = values
	}
	return s.client.do(s.ctx, method, id, data, all)
}

// local refuses references that lead to another host.
func local(id string) error {
	if !strings.HasPrefix(id, "/") || strings.HasPrefix(id, "//") || strings.ContainsAny(id, "\\ \r\n") {
		return fmt.Errorf("%w: a reference to %+.100q", ErrFailed, id)
	}
	return nil
}

// said returns what a service says of a failure (DSP0266, "Error responses").
func (a answer) said() string {
	var e struct {
		Error struct {
			Message  string
			Extended []struct{ Message string } `json:"@Message.ExtendedInfo"`
		}
	}
	if json.Unmarshal(a.body, &e) != nil {
		return ""
	}
	if len(e.Error.Extended) > 0 && e.Error.Extended[0].Message != "" {
		return e.Error.Extended[0].Message
	}
	return e.Error.Message
}
