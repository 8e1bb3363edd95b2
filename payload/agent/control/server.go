package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/strictjson"
	"golang.org/x/sys/unix"
)

const (
	// asking is how long a client may take to say what it wants.
	asking = 10 * time.Second
	// answering is how long one may leave a line of the answer unread.
	answering = 30 * time.Second
	// maxClients is how many are served at once; a script has one, usually.
	maxClients = 16
	// showFrom is from how many bytes on a fetch tells how far it is.
	showFrom = 1_000_000
	// news is how often progress is told.
	news = time.Second
)

// errRefused says that there is nobody to do what is asked.
var errRefused = errors.New("this cannot be done here")

// Server listens to programs in the toolbox.
type Server struct {
	handlers Handlers
	log      func(format string, args ...any)
	listener *net.UnixListener
	ctx      context.Context
	stop     context.CancelFunc
	clients  chan struct{}
	group    sync.WaitGroup
	asked    chan struct{} // has one element after something was asked

	mu   sync.Mutex
	next *Next
}

// Listen serves programs whose root directory is root, until [Server.Close]. Each
// request that changes something is told to log, in one line.
func Listen(root string, h Handlers, log func(format string, args ...any)) (*Server, error) {
	name := filepath.Join(root, socket)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{handlers: h, log: log, listener: l, clients: make(chan struct{}, maxClients), asked: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.goWith("control", s.accept)
	return s, nil
}

// goWith runs f until the server is closed.
func (s *Server) goWith(what string, f func() error) {
	s.group.Add(1)
	guard.Go(what, f, func(err error) {
		if err != nil {
			s.log("control: %v", err)
		}
		s.group.Done()
	})
}

// Asked has an element after a program has asked for what comes next, and has had
// its answer.
func (s *Server) Asked() <-chan struct{} { return s.asked }

// Next returns what was asked for last.
func (s *Server) Next() (Next, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return Next{}, false
	}
	return *s.next, true
}

// Close ends all requests and waits for the handlers.
func (s *Server) Close() {
	s.stop()
	_ = s.listener.Close() // removes the socket
	s.group.Wait()
}

// accept takes one client after the other.
func (s *Server) accept() error {
	for {
		conn, err := s.listener.AcceptUnix()
		switch {
		case s.ctx.Err() != nil:
			return nil
		case err != nil: // out of files: others will be closed
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case s.clients <- struct{}{}:
		case <-s.ctx.Done():
			return conn.Close()
		}
		s.goWith("control: a request", func() error {
			defer func() { <-s.clients }()
			defer conn.Close()
			s.serve(conn)
			return nil
		})
	}
}

// serve answers one client.
func (s *Server) serve(conn *net.UnixConn) {
	c := &client{conn: conn}
	defer c.close()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	req, err := c.read()
	if err != nil {
		c.finish(reply{}, err)
		return
	}
	// What a client still sends is that it goes away.
	ended := make(chan struct{})
	guard.Go("control: a client", func() error {
		_, _ = conn.Read(make([]byte, 1))
		cancel()
		return nil
	}, func(error) { close(ended) })
	answer, err := s.do(ctx, req, c)
	sent := c.finish(answer, err)
	cancel()
	<-ended
	if _, next := nexts[req.Do]; next && err == nil && sent {
		select {
		case s.asked <- struct{}{}:
		default:
		}
	}
}

// nexts are the requests that say what comes next.
var nexts = map[string]struct{}{DoBoot: {}, DoNext: {}, DoReboot: {}, DoOff: {}}

// do does what is asked for. An error has no reply.
func (s *Server) do(ctx context.Context, req request, c *client) (reply, error) {
	h := s.handlers
	if _, next := nexts[req.Do]; next {
		return s.note(Next{Do: req.Do, Entry: req.Name})
	}
	switch {
	case req.Do == "info" && h.Info != nil:
		info := h.Info()
		return reply{Info: &info}, nil
	case req.Do == "disks" && h.Disks != nil:
		disks, err := h.Disks()
		return reply{Disks: disks}, err
	case req.Do == "report" && h.Report != nil:
		if err := checkText(req.Text); err != nil {
			return reply{}, err
		}
		s.log("report: | %s", req.Text)
		return reply{}, h.Report(req.Text)
	case req.Do == "fetch" && h.Fetch != nil:
		return reply{}, s.fetch(ctx, req.Name, c)
	case req.Do == "flash" && h.Flash != nil:
		s.log("control: flash %.64q, disk %.64q", req.Name, req.Disk)
		return reply{}, h.Flash(ctx, req.Name, req.Disk, c.progress)
	}
	return reply{}, fmt.Errorf("%w: %.40q", errRefused, req.Do)
}

// note remembers what is to come next.
func (s *Server) note(n Next) (reply, error) {
	if n.Do == DoBoot {
		if s.handlers.Entry == nil {
			return reply{}, fmt.Errorf("%w: %q", errRefused, n.Do)
		}
		if err := s.handlers.Entry(n.Entry); err != nil {
			return reply{}, err
		}
	}
	s.log("control: asked for %s", n)
	s.mu.Lock()
	s.next = &n
	s.mu.Unlock()
	return reply{Text: n.String()}, nil
}

// fetch writes an object into the file that came with the request.
func (s *Server) fetch(ctx context.Context, name string, c *client) error {
	if c.file == nil {
		return errors.New("fetch: no file came with the request")
	}
	info, err := c.file.Stat()
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() != 0 {
		return errors.New("fetch: want an empty file; to write to a disk, use farboot flash")
	}
	return s.handlers.Fetch(ctx, name, c.file, func(done, total int64) {
		if total >= showFrom {
			c.progress(fmt.Sprintf("%.1f of %.1f MB", float64(done)/1e6, float64(total)/1e6))
		}
	})
}

// checkText wants a text for the report that is neither empty nor more than text.
func checkText(s string) error {
	if s == "" || len(s) > MaxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("report: want 1 to %d characters of printable ASCII", MaxText)
	}
	return nil
}

// client is the near end of a connection.
type client struct {
	conn *net.UnixConn
	file *os.File // that came with the request

	mu   sync.Mutex
	told time.Time
}

// close closes what came.
func (c *client) close() {
	if c.file != nil {
		c.file.Close()
	}
}

// read reads the request.
func (c *client) read() (request, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(asking)); err != nil {
		return request{}, err
	}
	defer c.conn.SetReadDeadline(time.Time{})
	var line []byte
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	for len(line) <= maxRequest {
		n, rights, _, _, err := c.conn.ReadMsgUnix(buf, oob)
		c.take(oob[:rights])
		line = append(line, buf[:n]...)
		if before, after, ok := bytes.Cut(line, []byte("\n")); ok {
			if len(after) > 0 {
				return request{}, errors.New("more than one request")
			}
			return decode(before)
		}
		if err != nil || n == 0 {
			return request{}, fmt.Errorf("no whole request: %w", err)
		}
	}
	return request{}, fmt.Errorf("request: more than %d bytes", maxRequest)
}

// take keeps the first file that came, and closes all others.
func (c *client) take(oob []byte) {
	messages, _ := unix.ParseSocketControlMessage(oob) // none, or cut off
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "file of a client")
			if c.file == nil {
				c.file = f
			} else {
				f.Close()
			}
		}
	}
}

// decode reads a request's line.
func decode(line []byte) (request, error) {
	var req request
	if err := strictjson.Decode(line, maxRequest, &req); err != nil {
		return request{}, fmt.Errorf("request: %w", err)
	}
	return req, nil
}

// progress tells the client how far it is, now and then.
func (c *client) progress(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.told) < news {
		return
	}
	c.told = time.Now()
	c.write(reply{Text: text})
}

// finish sends the last line, and tells whether it went.
func (c *client) finish(r reply, err error) bool {
	if err != nil {
		r = reply{Error: err.Error()}
	}
	r.Done = true
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(r)
}

// write sends a line.
func (c *client) write(r reply) bool {
	line, err := json.Marshal(r)
	if err == nil {
		err = c.conn.SetWriteDeadline(time.Now().Add(answering))
	}
	if err == nil {
		_, err = c.conn.Write(append(line, '\n'))
	}
	return err == nil
}
