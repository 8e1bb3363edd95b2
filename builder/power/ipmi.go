package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// ipmi runs ipmitool, which has met 20 years of controllers; the one library in Go
// that was tried, bougou/go-ipmi 0.8.3, cannot talk to ipmi_sim. The password is
// in its environment, where root and its own user alone can read it.
type ipmi struct {
	Config
	host, port string
}

// tool is the program.
const tool = "ipmitool"

func newIPMI(c Config) *ipmi {
	host, port, _ := net.SplitHostPort(withPort(c.Address, "623"))
	return &ipmi{c, host, port}
}

// State implements [Driver].
func (i *ipmi) State(ctx context.Context) (State, error) {
	out, err := i.run(ctx, "chassis", "power", "status")
	switch {
	case err != nil:
		return "", err
	case strings.Contains(out, "Chassis Power is on"):
		return IsOn, nil
	case strings.Contains(out, "Chassis Power is off"):
		return IsOff, nil
	}
	return "", fmt.Errorf("%w: %s printed %+.100q", ErrFailed, tool, out)
}

// Do implements [Driver].
func (i *ipmi) Do(ctx context.Context, a Action) error {
	_, err := i.run(ctx, "chassis", "power", string(a))
	return err
}

// BootNext implements [Driver]. What is set counts for 60 seconds (IPMI 2.0,
// 28.12, boot flags): switch the machine at once.
func (i *ipmi) BootNext(ctx context.Context, d Device) error {
	names := map[Device]string{PXE: "pxe", Disk: "disk", CD: "cdrom"}
	name, ok := names[d]
	if !ok {
		return fmt.Errorf("%w: IPMI knows no %s", ErrUnsupported, d)
	}
	args := []string{"chassis", "bootdev", name}
	if !i.BIOS {
		args = append(args, "options=efiboot")
	}
	_, err := i.run(ctx, args...)
	return err
}

// run runs ipmitool.
func (i *ipmi) run(ctx context.Context, args ...string) (string, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, i.limit())
	defer cancel()
	// -v says why a session is refused, -E reads the password from the environment.
	all := []string{"-v", "-I", "lanplus", "-H", i.host, "-p", i.port, "-E", "-N", "2", "-R", "3"}
	if i.User != "" {
		all = append(all, "-U", i.User)
	}
	if i.Cipher != 0 {
		all = append(all, "-C", strconv.Itoa(i.Cipher))
	}
	cmd := command(ctx, tool, append(all, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "IPMI_PASSWORD="+i.Secret, "IPMITOOL_PASSWORD="+i.Secret)
	out, said, err := combined(ctx, cmd)
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%w: %w: install the Debian package ipmitool", ErrUnsupported, err)
	case errors.Is(outer.Err(), context.Canceled):
		return "", outer.Err()
	}
	return "", i.class(outer, out, said, err)
}

// combined is [output], with both of the streams in one.
func combined(ctx context.Context, cmd *exec.Cmd) (out, said string, err error) {
	var all strings.Builder
	cmd.Stdout = &all
	cmd.Stderr = &all
	err = cmd.Run()
	lines := strings.Split(strings.TrimSpace(all.String()), "\n")
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return all.String(), lines[len(lines)-1], err
}

// class tells why ipmitool 1.8.19 failed, which it says by words alone. That
// nothing answers and that a controller is slow look alike to it: an RMCP ping,
// which every controller answers by itself (IPMI 2.0, 13.2.3), tells them apart.
func (i *ipmi) class(ctx context.Context, out, said string, err error) error {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(out, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("HMAC is invalid", "unauthorized name", "unauthorized role", "Invalid user name", "invalid role"):
		return fmt.Errorf("%w: the controller refuses the session", ErrPassword)
	case has("invalid authentication algorithm", "invalid integrity algorithm", "invalid confidentiality algorithm", "no matching cipher suite"):
		return fmt.Errorf(`%w: the controller does not take the cipher suite; see "cipher:"`, ErrUnsupported)
	case has("Address lookup for"):
		return fmt.Errorf("%w: no address is known for %q", ErrDead, i.host)
	case errors.Is(err, context.DeadlineExceeded), has("Unable to establish"):
		if pingErr := i.ping(ctx); pingErr != nil {
			return fmt.Errorf("%w: %w", ErrDead, pingErr)
		}
		return fmt.Errorf("%w: it answers a ping, and does not open a session", ErrSlow)
	case has("Command not supported", "Invalid command", "Parameter not supported", "Invalid data field"):
		return fmt.Errorf("%w: %+.200q", ErrUnsupported, said)
	}
	return fmt.Errorf("%w: %s: %w: %+.200q", ErrFailed, tool, err, said)
}

// pingTime is how long a pong is waited for, three times.
const pingTime = time.Second

// ping sends the presence ping of RMCP (ASF 2.0, 3.2.4.2).
func (i *ipmi) ping(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(i.host, i.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	packet := []byte{6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0}
	pong := make([]byte, 64)
	for range 3 {
		if _, err = conn.Write(packet); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(pingTime)) //nolint:errcheck // a UDP socket has deadlines
		n, readErr := conn.Read(pong)
		if err = readErr; err == nil && n >= 9 && pong[0] == 6 && pong[8] == 0x40 {
			return nil
		}
	}
	if err == nil {
		return errors.New("what answers is no pong")
	}
	return err
}
