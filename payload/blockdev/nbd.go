package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/guard"
)

// The kernel's NBD client is told by generic netlink what to do: include/uapi/linux/
// nbd-netlink.h and drivers/block/nbd.c of Linux 6.1.
//
// The protocol knows no "not yet": a request that waits for a network that is away
// can only be left unanswered. After a timeout the kernel takes the connection for
// dead, shuts it down and asks again by another one. That is of use, since answers
// were seen to get lost between kernel and server, on a busy machine and by whose
// fault nobody knows. So the timeout is short, and for each connection that the
// kernel gives up it is handed a new one at once, for as long as it takes. Where it
// has none for a moment it waits (DEAD_CONN_TIMEOUT), and no read fails. The server
// answers each question once, however often it is asked, see [server.read].
const (
	nbdFamily  = "nbd"
	nbdVersion = 1

	nbdConnect, nbdDisconnect, nbdReconfigure = 1, 2, 3

	nbdIndex       = 1
	nbdSize        = 2
	nbdBlock       = 3
	nbdTimeout     = 4
	nbdServerFlags = 5
	nbdSockets     = 7
	nbdDead        = 8
	nbdSocket      = 1 // in nbdSockets
	nbdFD          = 1 // in nbdSocket

	// NBD_FLAG_HAS_FLAGS, NBD_FLAG_READ_ONLY and NBD_FLAG_CAN_MULTI_CONN.
	nbdFlags = 1<<0 | 1<<1 | 1<<8
)

const (
	// nbdConnections: the kernel asks again only where it has more than one.
	nbdConnections = 2
	// nbdWait is the kernel's timeout of a request, in seconds. The network is asked
	// for a chunk for as long as it takes; a slow one needs some seconds.
	nbdWait = 20
	// nbdForever is how long it waits for a new connection, in seconds.
	nbdForever = 365 * 24 * 3600
	// nbdPause is between two connections that are given up at once.
	nbdPause = 100 * time.Millisecond
)

// nbd is a device that this program serves.
type nbd struct {
	family uint16
	index  uint32
	server *server
	log    func(format string, args ...any)
	ended  chan struct{} // closed when no more connections are to be made
	work   sync.WaitGroup
}

// openNBD makes the device.
func openNBD(ctx context.Context, c Config) (func() error, error) {
	index, err := number(c.Device, "/dev/nbd")
	if err != nil {
		return nil, err
	}
	node, err := openNode(ctx, c.Device, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	node.Close() // it is a device already, of no size
	family, err := netlink.GenlFamilyGet(nbdFamily)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	d := &nbd{family: family.ID, index: index, server: newServer(c.Source, c.Log), log: c.Log, ended: make(chan struct{})}
	var ours, theirs []int
	for range nbdConnections {
		a, b, err := pair()
		if err != nil {
			return nil, err
		}
		ours, theirs = append(ours, a), append(theirs, b)
	}
	err = d.ask(nbdConnect, theirs,
		nl.NewRtAttr(nbdSize, nl.Uint64Attr(uint64(c.Source.size()))), nl.NewRtAttr(nbdBlock, nl.Uint64Attr(sector)),
		nl.NewRtAttr(nbdTimeout, nl.Uint64Attr(nbdWait)), nl.NewRtAttr(nbdDead, nl.Uint64Attr(nbdForever)),
		nl.NewRtAttr(nbdServerFlags, nl.Uint64Attr(nbdFlags)))
	if err != nil {
		for _, fd := range ours {
			unix.Close(fd)
		}
		return nil, err
	}
	for _, fd := range ours {
		d.work.Add(1)
		guard.Go("serving a network block device", func() error { return d.serve(fd) }, func(err error) {
			guard.Tell(err, d.log)
			if err != nil {
				d.log("image: NBD: %v", err)
			}
			d.work.Done()
		})
	}
	return d.close, nil
}

// pair returns two sockets that are connected.
func pair() (ours, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("socketpair: %w", err)
	}
	return fds[0], fds[1], unix.SetNonblock(fds[0], true)
}

// ask sends one command with sockets, which are the kernel's after it.
func (d *nbd) ask(command uint8, sockets []int, attributes ...*nl.RtAttr) error {
	req := nl.NewNetlinkRequest(int(d.family), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: command, Version: nbdVersion})
	req.AddData(nl.NewRtAttr(nbdIndex, nl.Uint32Attr(d.index)))
	for _, a := range attributes {
		req.AddData(a)
	}
	if len(sockets) > 0 {
		list := nl.NewRtAttr(nbdSockets|unix.NLA_F_NESTED, nil)
		for _, fd := range sockets {
			list.AddRtAttr(nbdSocket|unix.NLA_F_NESTED, nil).AddRtAttr(nbdFD, nl.Uint32Attr(uint32(fd)))
		}
		req.AddData(list)
	}
	_, err := req.Execute(unix.NETLINK_GENERIC, 0)
	for _, fd := range sockets {
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("NBD command %d: %w", command, err)
	}
	return nil
}

// serve answers on one connection, and on those that take its place.
func (d *nbd) serve(fd int) error {
	for {
		d.server.serve(os.NewFile(uintptr(fd), "nbd"))
		select {
		case <-d.ended:
			return nil
		case <-time.After(nbdPause): // the kernel has shut it down, and is about to note that
		}
		ours, theirs, err := pair()
		if err != nil {
			return err
		}
		// Where it had not noted it yet it drops the new one, which ends at once.
		if err := d.ask(nbdReconfigure, []int{theirs}); err != nil {
			unix.Close(ours)
			return err
		}
		d.log("image: NBD: the kernel has a new connection")
		fd = ours
	}
}

// close disconnects the device.
func (d *nbd) close() error {
	close(d.ended)
	err := d.ask(nbdDisconnect, nil)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it was disconnected before
		return err
	}
	d.work.Wait()
	return nil
}
