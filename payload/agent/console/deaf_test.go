package console

import (
	"testing"
	"testing/fstest"

	"github.com/farboot/farboot/payload/agent/console/ptytest"
	"golang.org/x/sys/unix"
)

// TestDeaf: what somebody types is not printed back between the agent's lines, a
// byte that means "stop" stops nothing, and none flushes what waits to be printed,
// as the kernel does for ^C.
func TestDeaf(t *testing.T) {
	master, name := ptytest.Open(t)
	if c := Open(fstest.MapFS{activeFile: {Data: []byte(name)}}, "/dev/pts"); len(c.terminals) != 1 {
		t.Fatalf("%s was not opened", name)
	}
	mode, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if mode.Lflag&(unix.ECHO|unix.ISIG) != 0 || mode.Iflag&(unix.IXON|unix.BRKINT) != 0 {
		t.Errorf("the terminal still echoes (local modes %#x), stops or flushes (input modes %#x)", mode.Lflag, mode.Iflag)
	}
	if mode.Oflag&unix.ONLCR == 0 {
		t.Error("lines are no longer ended by CR and LF")
	}
}
