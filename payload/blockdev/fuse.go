package blockdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/guard"
)

// Numbers of include/uapi/linux/fuse.h, version 7.31, which Linux has since 5.4.
// What a later kernel adds it does not use with a server that says 31.
const (
	fuseMajor, fuseMinor = 7, 31

	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opDestroy     = 38
	opBatchForget = 42

	fuseAsyncRead = 1 << 0
	fuseAsyncDIO  = 1 << 15
	fuseMaxPages  = 1 << 22
	fopenKeep     = 1 << 1 // FOPEN_KEEP_CACHE

	inHeader, outHeader = 40, 16
	forever             = 1 << 30 // seconds for which attributes hold
)

const (
	// fuseWorkers read from the image at a time. Each waits in a thread of its own,
	// and has one buffer.
	fuseWorkers = 16
	// fuseRead is how many bytes the kernel asks for at most. The loop device asks
	// for a read-ahead of 128 KiB as a rule.
	fuseRead = 256 << 10
	// fuseRequest is the room for one request: the kernel wants 8 KiB at least
	// (FUSE_MIN_READ_BUFFER), and that is enough where nothing is written.
	fuseRequest = 8 << 10
)

// fuse is a file system that is one file: its root is no folder.
type fuse struct {
	fd      int
	source  Source
	log     func(format string, args ...any)
	workers sync.WaitGroup
}

// openFUSE makes the source a file, which is open and has no name. It is no os.File:
// that would ask the file whether it can be polled, in a call of the runtime that lets
// no other goroutine run, on a machine with one processor not even those that answer.
func openFUSE(dir string, s Source, log func(format string, args ...any)) (file int, _ *fuse, _ error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	name := filepath.Join(dir, "image")
	if err := os.WriteFile(name, nil, 0o400); err != nil {
		return -1, nil, errors.Join(err, unix.Close(fd))
	}
	defer os.Remove(name)
	options := fmt.Sprintf("fd=%d,rootmode=100400,user_id=0,group_id=0,max_read=%d", fd, fuseRead)
	if err := unix.Mount("farboot", name, "fuse.farboot", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return -1, nil, errors.Join(fmt.Errorf("mount: %w", err), unix.Close(fd))
	}
	f := &fuse{fd: fd, source: s, log: log}
	for range fuseWorkers {
		f.workers.Add(1)
		guard.Go("serving a FUSE file", f.work, func(err error) {
			guard.Tell(err, log)
			if err != nil {
				log("image: FUSE: %v", err)
			}
			f.workers.Done()
		})
	}
	file, err = unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		// Until somebody asks it has no size, and the loop device of Linux 6.1 does not.
		err = unix.Fstat(file, new(unix.Stat_t))
	}
	// What is open holds the file system; nobody finds it or can unmount it.
	err = errors.Join(err, unix.Unmount(name, unix.MNT_DETACH))
	if err != nil {
		if file >= 0 {
			unix.Close(file)
		}
		return -1, nil, errors.Join(err, f.wait())
	}
	return file, f, nil
}

// wait returns when the last user of the file system is gone.
func (f *fuse) wait() error {
	f.workers.Wait()
	return unix.Close(f.fd)
}

// work answers requests, one after the other, until the file system is gone.
func (f *fuse) work() error {
	request, answer := make([]byte, fuseRequest), make([]byte, outHeader+fuseRead)
	for {
		n, err := unix.Read(f.fd, request)
		switch {
		case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue // ENOENT: who has asked has gone
		case err != nil:
			return fmt.Errorf("/dev/fuse: %w", err)
		case n < inHeader:
			return fmt.Errorf("/dev/fuse: a request of %d bytes", n)
		}
		if out := f.answer(request[:n], answer); out != nil {
			// Nobody waits for it any more, or everything is over, which Read tells.
			_, _ = unix.Write(f.fd, out)
		}
	}
}

// answer handles one request and returns what is to be sent, in the room of out; nil
// is nothing. A panic is an I/O error of this request.
func (f *fuse) answer(in, out []byte) []byte {
	size, errno := 0, unix.EIO
	op := binary.LittleEndian.Uint32(in[4:])
	if op == opForget || op == opBatchForget {
		return nil
	}
	err := guard.Call("answering the kernel", func() (err error) {
		size, err = f.handle(op, in[inHeader:], out[outHeader:])
		return err
	})
	if guard.Tell(err, f.log); err == nil {
		errno = 0
	} else if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	if errno != 0 {
		size = 0
	}
	binary.LittleEndian.PutUint32(out, uint32(outHeader+size))
	binary.LittleEndian.PutUint32(out[4:], uint32(-int32(errno)))
	copy(out[8:16], in[8:16]) // which request it was
	return out[:outHeader+size]
}

// handle does what a request asks for and returns how many bytes of out are used.
// Errors that are no errno are I/O errors.
func (f *fuse) handle(op uint32, in, out []byte) (int, error) {
	le := binary.LittleEndian
	zeros := func(n int) []byte {
		clear(out[:n])
		return out[:n]
	}
	switch op {
	case opInit:
		b := zeros(64)
		if len(in) < 16 || le.Uint32(in) != fuseMajor {
			return 0, unix.EPROTO
		}
		flags := le.Uint32(in[12:]) & (fuseAsyncRead | fuseAsyncDIO | fuseMaxPages)
		for at, v := range map[int]uint32{0: fuseMajor, 4: fuseMinor, 8: fuseRead, 12: flags, 20: 4096, 24: 1} {
			le.PutUint32(b[at:], v)
		}
		le.PutUint16(b[16:], fuseWorkers) // requests in the background
		le.PutUint16(b[18:], fuseWorkers) // and when that is many
		le.PutUint16(b[28:], uint16(fuseRead/os.Getpagesize()))
		return len(b), nil
	case opGetattr:
		b := zeros(104)
		le.PutUint64(b, forever)
		attr := b[16:]
		le.PutUint64(attr, 1) // FUSE_ROOT_ID
		le.PutUint64(attr[8:], uint64(f.source.size()))
		le.PutUint64(attr[16:], uint64(f.source.size()/sector))
		le.PutUint32(attr[60:], unix.S_IFREG|0o400)
		le.PutUint32(attr[64:], 1)
		le.PutUint32(attr[80:], 4096)
		return len(b), nil
	case opOpen:
		b := zeros(16)
		le.PutUint32(b[8:], fopenKeep)
		return len(b), nil
	case opRead:
		return f.read(in, out)
	case opRelease, opFlush, opDestroy:
		return 0, nil
	}
	return 0, unix.ENOSYS
}

// read answers a read.
func (f *fuse) read(in, out []byte) (int, error) {
	if len(in) < 24 {
		return 0, fs.ErrInvalid
	}
	offset := int64(binary.LittleEndian.Uint64(in[8:]))
	n := min(int64(binary.LittleEndian.Uint32(in[16:])), int64(len(out)), f.source.size()-offset)
	if offset < 0 || n <= 0 {
		return 0, nil
	}
	if err := f.source.read(out[:n], offset); err != nil {
		f.log("image: %d bytes at %d cannot be read: %v", n, offset, err)
		return 0, unix.EIO
	}
	return int(n), nil
}
