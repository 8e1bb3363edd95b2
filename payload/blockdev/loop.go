package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// loopTime is how long a loop device takes at most to let go of its file.
const loopTime = 10 * time.Second

// openLoop makes the device of a FUSE file and a loop device. The loop device reads
// the file directly: through the page cache, twice, it was ten times as slow on a
// small machine (LO_FLAGS_DIRECT_IO; 2 to 4 MB/s and 26 to 29 on Linux 6.1 in QEMU).
func openLoop(ctx context.Context, c Config) (func() error, error) {
	n, err := number(c.Device, "/dev/loop")
	if err != nil {
		return nil, err
	}
	control, err := openNode(ctx, "/dev/loop-control", os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	if _, err := os.Stat(c.Device); err != nil {
		if err := unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, int(n)); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("loop device: %w", err)
		}
	}
	device, err := openNode(ctx, c.Device, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	file, server, err := openFUSE(c.Dir, c.Source, c.Log)
	if err != nil {
		device.Close()
		return nil, err
	}
	err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
		Fd:   uint32(file),
		Size: sector,
		Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_DIRECT_IO},
	})
	unix.Close(file) // the loop device has it
	if err != nil {
		device.Close()
		return nil, errors.Join(fmt.Errorf("loop device: %w", err), server.wait())
	}
	// The device stays open: who detaches all loop devices, as systemd does when a
	// machine is switched off, thereby asks for it to be detached with its last user.
	return func() error { return freeLoop(device, server) }, nil
}

// freeLoop takes the file from the device, which others may have open for a moment,
// and returns when nobody has it any more.
func freeLoop(device *os.File, server *fuse) error {
	err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
	for until := time.Now().Add(loopTime); errors.Is(err, unix.EBUSY) && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
		err = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
	}
	device.Close()
	if err != nil {
		return fmt.Errorf("loop device: %w", err)
	}
	return server.wait()
}
