package sshd

import (
	"strings"
	"syscall"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"golang.org/x/sys/unix"
)

// Payloads of requests and answers, RFC 4254, sections 6.2 to 6.10.

type ptyRequest struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

type windowChange struct{ Columns, Rows, Width, Height uint32 }

type stringRequest struct{ Value string }

type signalRequest struct{ Name string }

type exitStatus struct{ Status uint32 }

type exitSignal struct {
	Name     string
	Core     bool
	Message  string
	Language string
}

// hangupSignal is what programs get whose session has ended.
const hangupSignal = unix.SIGHUP

// signals are those that a client may send.
var signals = map[string]syscall.Signal{
	"ABRT": unix.SIGABRT, "ALRM": unix.SIGALRM, "HUP": unix.SIGHUP, "INT": unix.SIGINT, "KILL": unix.SIGKILL,
	"PIPE": unix.SIGPIPE, "QUIT": unix.SIGQUIT, "TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
}

const (
	// termChars is of what names of terminals consist. A path among them would
	// lead to a file of the client's choice.
	termChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."
	// maxTerm bounds a terminal's name, in bytes: "xterm-256color".
	maxTerm = 32
)

// cleanTerm returns a terminal's name that can be looked up in terminfo.
func cleanTerm(s string) string {
	if s == "" || len(s) > maxTerm || strings.Trim(s, termChars) != "" || strings.HasPrefix(s, ".") {
		return "vt100"
	}
	return s
}

// size returns a terminal's size, within what terminals can have.
func size(columns, rows, width, height uint32) toolbox.Size {
	clip := func(n uint32) uint16 { return uint16(min(n, 1<<16-1)) }
	return toolbox.Size{Columns: clip(columns), Rows: clip(rows), Width: clip(width), Height: clip(height)}
}
