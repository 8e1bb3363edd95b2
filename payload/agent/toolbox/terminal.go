package toolbox

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Size is that of a terminal, in characters, and in pixels where that is known.
type Size struct{ Columns, Rows, Width, Height uint16 }

// Terminal makes a pair of terminals: what is written to the one is read from
// the other, and the program that has the slave behaves as for a person. The
// caller closes both.
func (p *Processes) Terminal(s Size) (master, slave *os.File, err error) {
	master, err = os.OpenFile(filepath.Join(p.root, "/dev/ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	if slave, err = openSlave(master); err == nil {
		if err = Resize(master, s); err == nil {
			return master, slave, nil
		}
		slave.Close()
	}
	master.Close()
	return nil, nil, fmt.Errorf("terminal: %w", err)
}

// openSlave opens the other end of a master without its name: whatever is mounted
// on /dev/pts, it is the right one (TIOCGPTPEER, ioctl_tty(2)).
func openSlave(master *os.File) (slave *os.File, err error) {
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		got, _, code := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if code != 0 {
			return code
		}
		slave = os.NewFile(got, "terminal")
		return nil
	})
	return slave, err
}

// Resize sets the size of a terminal, and tells the program.
func Resize(master *os.File, s Size) error {
	return control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns, Xpixel: s.Width, Ypixel: s.Height})
	})
}

// control calls do with the number of f, which stays in the poller of Go: File.Fd
// would take it out.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
