package blockdev

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// client is the kernel's side of a connection.
type client struct {
	t *testing.T
	*os.File
}

// connect gives the server a connection. ended is closed when it has ended there.
func connect(t *testing.T, s *server) (c client, ended chan struct{}) {
	t.Helper()
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		s.serve(os.NewFile(uintptr(ours), "server"))
		close(ended)
	}()
	if err := unix.SetNonblock(theirs, true); err != nil {
		t.Fatal(err)
	}
	c = client{t, os.NewFile(uintptr(theirs), "client")}
	t.Cleanup(func() { c.Close() })
	return c, ended
}

// ask sends a request.
func (c client) ask(cookie string, kind uint16, offset int64, n uint32) {
	c.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, nbdRequest)
	b = binary.BigEndian.AppendUint32(b, uint32(kind))
	b = append(b, cookie...)
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = binary.BigEndian.AppendUint32(b, n)
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads an answer with n bytes of data.
func (c client) answer(n int) (cookie string, errno uint32, data []byte) {
	c.t.Helper()
	head := make([]byte, replyHead)
	if _, err := io.ReadFull(c, head); err != nil || binary.BigEndian.Uint32(head) != nbdReply {
		c.t.Fatalf("% x, %v", head, err)
	}
	if errno = binary.BigEndian.Uint32(head[4:]); errno == 0 {
		data = make([]byte, n)
		if _, err := io.ReadFull(c, data); err != nil {
			c.t.Fatal(err)
		}
	}
	return string(head[8:]), errno, data
}

func TestWire(t *testing.T) {
	m, l := newImage(1<<20+1), new(lines)
	close(m.gate)
	m.bad.Store(300_000)
	c, ended := connect(t, newServer(m.source(), l.log))
	c.ask("cookie-1", nbdRead, 4096, 8192)
	if cookie, errno, data := c.answer(8192); cookie != "cookie-1" || errno != 0 || !bytes.Equal(data, m.data[4096:][:8192]) {
		t.Errorf("%q, error %d", cookie, errno)
	}
	c.ask("cookie-2", nbdRead, 1<<20, 512)
	if _, errno, data := c.answer(512); errno != 0 || data[0] != m.data[1<<20] || data[1] != 0 {
		t.Errorf("the end: error %d", errno)
	}
	c.ask("cookie-3", nbdRead, 299_520, 4096)
	if _, errno, _ := c.answer(0); errno != uint32(unix.EIO) {
		t.Errorf("a wrong chunk: error %d", errno)
	}
	for _, bad := range []struct {
		kind   uint16
		offset int64
		n      uint32
	}{{1, 0, 512}, {nbdRead, -512, 512}, {nbdRead, 2 << 20, 512}, {nbdRead, 0, maxRequest + 1}} {
		c.ask("cookie-4", bad.kind, bad.offset, bad.n)
		if _, errno, _ := c.answer(0); errno != uint32(unix.EINVAL) {
			t.Errorf("%+v: error %d", bad, errno)
		}
	}
	c.ask("cookie-5", nbdDisc, 0, 0)
	<-ended
}

// TestWireRepeats: a connection that is given up while the source waits leaves nobody
// behind, and what is asked for again by another one is read once.
func TestWireRepeats(t *testing.T) {
	m, l := newImage(1<<20), new(lines)
	s := newServer(m.source(), l.log)
	for range 3 {
		c, ended := connect(t, s)
		c.ask("cookie-1", nbdRead, 0, 4096)
		c.ask("cookie-2", nbdRead, 8192, 4096)
		for waiting := 0; waiting < 2; time.Sleep(time.Millisecond) {
			s.mu.Lock()
			waiting = len(s.reads)
			s.mu.Unlock()
		}
		c.Close()
		<-ended
	}
	c, _ := connect(t, s)
	c.ask("cookie-3", nbdRead, 8192, 4096)
	close(m.gate)
	if cookie, errno, data := c.answer(4096); cookie != "cookie-3" || errno != 0 || !bytes.Equal(data, m.data[8192:][:4096]) {
		t.Errorf("%q, error %d", cookie, errno)
	}
	if n := m.reads.Load(); n != 2 {
		t.Errorf("read %d times, want each of two once", n)
	}
}
