// Package power switches machines from afar: on, off and on again, and says what
// they start from next. [New] makes a [Driver] of what a site's recipe says of a
// machine; [Targets] finds machines in a recipe, and [All] does one thing to many
// of them at the same time:
//
//	targets, err := power.Targets(recipe, []string{"room-4"})
//	results := power.All(ctx, targets, power.Limit, func(ctx context.Context, t power.Target) (power.State, error) {
//		return "", power.Switch(ctx, t.Driver, power.On)
//	})
//
// The drivers are Redfish (DMTF DSP0266), IPMI 2.0 by the program ipmitool, Intel
// AMT (WS-Management), Wake-on-LAN, and any program of the operator's.
//
// The package promises that a password is in no error, in no argument of a program
// and never sent to a controller whose certificate was not checked, unless the
// recipe says "insecure" or "plain"; that everything ends in the time that the
// recipe sets; and that each failure wraps one of the sentinels here, so that a
// wrong password is never taken for a dead host. What a controller answers is
// bounded, and no document of its can send a request to another host.
//
// It does not wait until a machine has done what its controller has accepted, and
// it knows nothing of what runs on the machine: off is as pulling the plug.
package power

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/builder/recipe"
)

// Action is what is done to a machine.
type Action string

// The actions. None of them asks what runs on the machine.
const (
	On    Action = "on"
	Off   Action = "off"
	Cycle Action = "cycle" // off, and on again
	Reset Action = "reset" // as the reset button
)

// Actions lists all of them.
func Actions() []Action { return []Action{On, Off, Cycle, Reset} }

// Device is what a machine starts from, once.
type Device string

// The devices.
const (
	PXE  Device = "pxe"
	HTTP Device = "http" // UEFI's HTTP boot; Redfish alone knows it
	Disk Device = "disk"
	CD   Device = "cd"
)

// Devices lists all of them.
func Devices() []Device { return []Device{PXE, HTTP, Disk, CD} }

// State is whether a machine is on.
type State string

// The states. Others are the controller's own words.
const (
	IsOn  State = "on"
	IsOff State = "off"
)

// Classes of failures.
var (
	// ErrPassword says that the controller knows no such user or password.
	ErrPassword = errors.New("wrong user or password")
	// ErrCertificate says that nobody who is trusted vouches for the controller.
	ErrCertificate = errors.New("certificate is not trusted")
	// ErrDead says that nothing answers at the address.
	ErrDead = errors.New("nothing answers")
	// ErrSlow says that the controller is there, and did not answer in time.
	ErrSlow = errors.New("no answer in time")
	// ErrUnsupported says that the controller, or the driver, cannot do it.
	ErrUnsupported = errors.New("not supported")
	// ErrFailed says that the controller refuses, or answers nonsense.
	ErrFailed = errors.New("the controller failed")
)

// Hint returns what to do about a failure, or "".
func Hint(err error) string {
	switch {
	case errors.Is(err, ErrPassword):
		return `see "user:" and "password:"; too many attempts lock some controllers for minutes`
	case errors.Is(err, ErrCertificate):
		return `name what vouches for it by "ca:", or, once you have compared it, its "fingerprint:"`
	case errors.Is(err, ErrDead):
		return `is "address:" right, has the controller power and a cable, and does a firewall let this desk through?`
	case errors.Is(err, ErrSlow):
		return `raise "seconds:", or restart the controller`
	case errors.Is(err, ErrUnsupported):
		return "docs/power.md has a table of what each driver can do"
	}
	return ""
}

// Driver talks to the controller of one machine.
type Driver interface {
	// State tells whether the machine is on.
	State(ctx context.Context) (State, error)
	// Do does something to it. See [Switch] for what to call.
	Do(ctx context.Context, a Action) error
	// BootNext sets what the machine starts from the next time, and no other.
	BootNext(ctx context.Context, d Device) error
}

// Config says how a machine is reached.
type Config struct {
	// Power is complete and valid, as recipes have it.
	recipe.Power
	// Name is what the machine is called, for programs.
	Name string
	// MAC is the machine's own card, for Wake-on-LAN.
	MAC string
	// Secret is the password.
	Secret string
	// Roots may vouch for the controller; nil is the system's.
	Roots *x509.CertPool
	// Dir is the project's folder, where programs run.
	Dir string
}

// defaultTime is how long one thing may take where the recipe does not say:
// controllers have been seen to need 10 s for a first answer.
const defaultTime = 30 * time.Second

// limit returns how long one thing may take.
func (c Config) limit() time.Duration {
	if c.Seconds == 0 {
		return defaultTime
	}
	return time.Duration(c.Seconds) * time.Second
}

// New returns the driver for a machine. It does nothing yet.
func New(c Config) (Driver, error) {
	switch c.Driver {
	case recipe.DriverRedfish:
		return newRedfish(c)
	case recipe.DriverIPMI:
		return newIPMI(c), nil
	case recipe.DriverAMT:
		return newAMT(c)
	case recipe.DriverWOL:
		return newWOL(c)
	case recipe.DriverExec:
		return &program{c}, nil
	}
	return nil, fmt.Errorf("%w: driver %q", ErrUnsupported, c.Driver)
}

// Switch does something to a machine, as people mean it: what is on already is
// not switched on, a machine that is off is only switched on by cycle, and a reset
// of it fails. A driver that cannot tell whether the machine is on is not asked.
func Switch(ctx context.Context, d Driver, a Action) error {
	state, err := d.State(ctx)
	switch {
	case errors.Is(err, ErrUnsupported):
		return d.Do(ctx, a)
	case err != nil:
		return err
	case a == On && state == IsOn, a == Off && state == IsOff:
		return nil
	case a == Cycle && state == IsOff:
		return d.Do(ctx, On)
	case a == Reset && state == IsOff:
		return fmt.Errorf("%w: a machine that is off cannot be reset", ErrFailed)
	}
	return d.Do(ctx, a)
}
