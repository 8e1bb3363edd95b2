package blockdev

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/guard"
)

// The protocol between the kernel and the server of a network block device:
// include/uapi/linux/nbd.h. Numbers are big-endian.
const (
	nbdRequest = 0x25609513
	nbdReply   = 0x67446698

	nbdRead = 0
	nbdDisc = 2

	requestHead = 28 // bytes: magic, kind, cookie, where, length
	replyHead   = 16 // bytes: magic, error, cookie

	// maxRequest bounds one read, in bytes. The kernel asks for 128 KiB as a rule
	// and for 32 MiB never (nbd sets max_sectors to 256).
	maxRequest = 4 << 20
)

// server answers the kernel's requests on any number of connections.
type server struct {
	source Source
	log    func(format string, args ...any)

	mu    sync.Mutex
	reads map[span]*answer // under way
}

// span is what a request asks for.
type span struct {
	offset int64
	n      uint32
}

// answer is what a read will have brought once done is closed.
type answer struct {
	done chan struct{}
	data []byte
	err  error
}

func newServer(s Source, log func(format string, args ...any)) *server {
	return &server{source: s, log: log, reads: map[span]*answer{}}
}

// read starts a read, or joins one that is under way. The kernel has a bounded number
// of requests; those that it repeats are no more.
func (s *server) read(what span) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.reads[what]; a != nil {
		return a
	}
	a := &answer{done: make(chan struct{})}
	s.reads[what] = a
	guard.Go("reading for a network block device", func() error {
		data := make([]byte, what.n)
		err := s.source.read(data, what.offset)
		a.data = data
		return err
	}, func(err error) {
		if guard.Tell(err, s.log); err != nil {
			s.log("image: %d bytes at %d cannot be read: %v", what.n, what.offset, err)
		}
		s.mu.Lock()
		delete(s.reads, what)
		s.mu.Unlock()
		a.err = err
		close(a.done)
	})
	return a
}

// serve answers what comes by a connection, and closes it when it has ended.
func (s *server) serve(conn *os.File) {
	gone := make(chan struct{})
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer close(gone)
	defer conn.Close()
	var sending sync.Mutex
	for {
		var head [requestHead]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		be := binary.BigEndian
		kind, cookie := be.Uint16(head[6:]), head[8:16]
		what := span{int64(be.Uint64(head[16:])), be.Uint32(head[24:])}
		switch {
		case be.Uint32(head[:]) != nbdRequest || kind == nbdDisc:
			return
		case kind != nbdRead || what.offset < 0 || what.n > maxRequest || what.offset > s.source.size()-int64(what.n):
			s.log("image: NBD: a request of kind %d for %d bytes at %d", kind, what.n, what.offset)
			if reply(conn, &sending, cookie, nil, unix.EINVAL) != nil {
				return
			}
			continue
		}
		a := s.read(what)
		waiting.Add(1)
		guard.Go("answering for a network block device", func() error {
			select {
			case <-a.done:
			case <-gone:
				return nil
			}
			errno := unix.Errno(0)
			if a.err != nil {
				errno = unix.EIO
			}
			return reply(conn, &sending, cookie, a.data, errno)
		}, func(error) { waiting.Done() }) // the kernel asks again where it had no answer
	}
}

// reply sends one answer.
func reply(conn *os.File, sending *sync.Mutex, cookie, data []byte, errno unix.Errno) error {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, replyHead+len(data)), nbdReply)
	out = append(binary.BigEndian.AppendUint32(out, uint32(errno)), cookie...)
	if errno == 0 {
		out = append(out, data...)
	}
	sending.Lock()
	defer sending.Unlock()
	if _, err := conn.Write(out); err != nil {
		return fmt.Errorf("NBD: %w", err)
	}
	return nil
}
