package site

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are made by dial, without a network, so
// that time can be faked.
type pipes struct {
	conns chan net.Conn
	done  context.Context
	close context.CancelFunc
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done.Done():
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.close(); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// slowly serves a file of the given size and hands a connection to client, in
// fake time.
func slowly(t *testing.T, size int64, client func(t *testing.T, conn net.Conn)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		l := &pipes{conns: make(chan net.Conn)}
		l.done, l.close = context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- Serve(ctx, l, dir, nil) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		client(t, ours)
		ours.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

const getFile = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n"

// TestServeDropsStuckClients: who takes nothing, or asks nothing, is dropped.
func TestServeDropsStuckClients(t *testing.T) {
	for name, c := range map[string]struct {
		send string
		min  time.Duration
		max  time.Duration
	}{
		"silent":       {"", headerTime, headerTime + time.Second},
		"half request": {getFile[:20], headerTime, headerTime + time.Second},
		"reads a bit":  {getFile, pieceTime, 2 * pieceTime},
	} {
		t.Run(name, func(t *testing.T) {
			slowly(t, 8<<20, func(t *testing.T, conn net.Conn) {
				start := time.Now()
				io.WriteString(conn, c.send)
				if c.send == getFile {
					if _, err := conn.Read(make([]byte, 100)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * pieceTime)
				}
				rest, _ := io.ReadAll(conn)
				if took := time.Since(start); took < c.min || took > c.max || len(rest) > 1<<20 {
					t.Errorf("dropped after %v and %d bytes, want %v to %v", took, len(rest), c.min, c.max)
				}
			})
		})
	}
}

// TestServeBearsSlowClients: 64 kbit/s is slow, not stuck; and a connection
// that was idle for long is still good.
func TestServeBearsSlowClients(t *testing.T) {
	const size, rate = 2 << 20, 8000
	slowly(t, size, func(t *testing.T, conn net.Conn) {
		r := bufio.NewReader(paced{conn, rate})
		start := time.Now()
		io.WriteString(conn, getFile)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != size || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if took := time.Since(start); took < 4*time.Minute {
			t.Errorf("took %v; the client was not slow", took)
		}
		time.Sleep(idleTime - time.Second)
		io.WriteString(conn, "HEAD"+getFile[3:])
		if _, err := http.ReadResponse(r, &http.Request{Method: "HEAD"}); err != nil {
			t.Error(err)
		}
	})
}

// paced reads bytesPerSecond.
type paced struct {
	r              io.Reader
	bytesPerSecond int
}

func (p paced) Read(b []byte) (int, error) {
	time.Sleep(time.Second)
	return io.ReadFull(p.r, b[:min(len(b), p.bytesPerSecond)])
}
