package console

import (
	"path/filepath"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// TestDeaf: what somebody types is not printed back between the agent's lines,
// and a byte that means "stop" stops nothing.
func TestDeaf(t *testing.T) {
	master, name := openPTY(t)
	if c := Open(fstest.MapFS{activeFile: {Data: []byte(filepath.Base(name))}}, filepath.Dir(name)); len(c.terminals) != 1 {
		t.Fatalf("%s was not opened", name)
	}
	mode, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if mode.Lflag&unix.ECHO != 0 || mode.Iflag&unix.IXON != 0 {
		t.Errorf("the terminal still echoes (local modes %#x) or stops (input modes %#x)", mode.Lflag, mode.Iflag)
	}
	if mode.Oflag&unix.ONLCR == 0 {
		t.Error("lines are no longer ended by CR and LF")
	}
}
