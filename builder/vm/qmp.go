package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// monitor speaks QMP (QEMU's docs/interop/qmp-spec.rst) over a socket pair.
type monitor struct {
	mu      sync.Mutex
	conn    net.Conn
	dec     *json.Decoder
	greeted bool
}

// newMonitor returns a monitor and QEMU's end of its connection.
func newMonitor() (*monitor, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("vm: qmp: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp of qemu")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("vm: qmp: %w", err)
	}
	return &monitor{conn: conn, dec: json.NewDecoder(conn)}, theirs, nil
}

// execute runs a command and decodes what it returns into result, if that is
// not nil.
func (m *monitor) execute(ctx context.Context, command string, args, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := m.greet()
	if err == nil {
		err = m.ask(command, args, result)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("vm: qmp: %s: %w", command, err)
	}
	return nil
}

// greet takes QEMU's greeting, which comes once, and enters command mode.
func (m *monitor) greet() error {
	if m.greeted {
		return nil
	}
	var greeting struct{ QMP json.RawMessage }
	if err := m.dec.Decode(&greeting); err != nil {
		return err
	}
	m.greeted = true
	return m.ask("qmp_capabilities", nil, nil)
}

// ask sends one command and waits for its answer. Events in between are dropped.
func (m *monitor) ask(command string, args, result any) error {
	request := struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return err
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := m.dec.Decode(&answer); err != nil {
			return err
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("qemu says %q", answer.Error.Desc)
		case answer.Return != nil && result != nil:
			return json.Unmarshal(answer.Return, result)
		case answer.Return != nil:
			return nil
		}
	}
}
