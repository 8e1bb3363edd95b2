package hardware

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// ueventSize holds the largest announcement: 2 KiB of variables (UEVENT_BUFFER_SIZE
// in include/linux/kobject.h) behind a path of at most 4 KiB.
const ueventSize = 8 << 10

// news returns a channel on which the kernel's announcements of new devices arrive
// until ctx ends: one for as many as come while nobody looks. It is nil where the
// kernel has no such socket, and told by log where the listener ends before that.
func news(ctx context.Context, log func(format string, args ...any)) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "uevents") // waits by epoll, and Close ends the wait
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	context.AfterFunc(ctx, func() { f.Close() })
	c := make(chan struct{}, 1)
	guard.Go("listening for new devices", func() error { return listen(f, c) }, func(err error) {
		f.Close()
		if ctx.Err() == nil {
			log("hardware: new devices are not announced any more: %v", err)
			guard.Tell(err, log)
		}
	})
	return c, nil
}

// listen passes announcements on until f is closed.
func listen(f *os.File, to chan<- struct{}) error {
	message := make([]byte, ueventSize)
	for {
		n, err := f.Read(message)
		switch {
		case errors.Is(err, unix.ENOBUFS): // some were lost
		case err != nil:
			return err
		case !announces(message[:n]):
			continue
		}
		select {
		case to <- struct{}{}:
		default:
		}
	}
}

// announces tells whether a message is about a new device. It begins with
// "add@/devices/..." (kobject_uevent_env in lib/kobject_uevent.c); modules that
// were loaded have messages too.
func announces(message []byte) bool { return bytes.HasPrefix(message, []byte("add@/devices/")) }
