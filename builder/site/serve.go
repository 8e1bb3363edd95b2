package site

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// Limits of the server. Of files it has no users and takes no bodies, so that the
// only thing to run out of is connections.
const (
	// headerTime is how long a client may take to send a request.
	headerTime = 10 * time.Second
	// headerBytes bounds a request's headers.
	headerBytes = 16 << 10
	// idleTime is how long a connection waits for its next request.
	idleTime = time.Minute
	// A client must take pieceBytes in pieceTime: 4 KiB/s, half of what a
	// 64 kbit/s line gives.
	pieceBytes = 256 << 10
	pieceTime  = time.Minute
	// closeTime is how long running answers may take once the server stops.
	closeTime = 3 * time.Second
)

// Handler serves the files in the folder dir: GET and HEAD, with Range and
// ETag. There are no listings and no redirects; names that begin with a dot,
// links that lead out of dir and whatever is not a file do not exist. One line
// for each request goes to accessLog, which may be nil.
func Handler(dir string, accessLog io.Writer) http.Handler {
	if accessLog == nil {
		accessLog = io.Discard
	}
	lines := log.New(accessLog, "", 0)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a := &answer{ResponseWriter: w}
		serveFile(a, r, dir)
		lines.Printf("%s %s %s %q %d %d %.3fs", start.UTC().Format(time.RFC3339), r.RemoteAddr, r.Method,
			r.URL.Path, a.status, a.bytes, time.Since(start).Seconds())
	})
}

// Serve answers requests on ln with the files in dir until ctx ends, which is
// no error. It closes ln.
func Serve(ctx context.Context, ln net.Listener, dir string, accessLog io.Writer) error {
	if err := ServeHandler(ctx, ln, Handler(dir, accessLog)); err != nil {
		return fmt.Errorf("serve %s: %w", dir, err)
	}
	return nil
}

// ServeHandler is [Serve] with a handler of the caller's, within the same limits.
func ServeHandler(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: pieceTime,
		IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ErrorLog: log.New(io.Discard, "", 0), // of no use but to whoever attacks
	}
	stopped := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	err := server.Serve(ln)
	if forget() {
		return err
	}
	<-stopped
	return nil
}

// serveFile answers one request.
func serveFile(w http.ResponseWriter, r *http.Request, dir string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	name, ok := cleanPath(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, info, err := openFile(dir, name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Etag", etag(name, info))
	w.Header().Set("Cache-Control", cacheControl(name))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// cleanPath returns the file that a request path names. Paths that could be
// read in two ways, and names that begin with a dot, name none.
func cleanPath(p string) (name string, ok bool) {
	name, ok = strings.CutPrefix(p, "/")
	if !ok || !fs.ValidPath(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return "", false
	}
	if strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return "", false
	}
	return name, true
}

// openFile opens a plain file below dir. The folder is looked up each time, so
// that it may be replaced while it is served.
func openFile(dir, name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	// Not to wait for whoever might write to a pipe.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a plain file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// objectID returns the hash that an object's path promises.
func objectID(name string) (object.ID, bool) {
	hex, ok := strings.CutPrefix(name, "objects/")
	if !ok {
		return object.ID{}, false
	}
	id, err := object.ParseID(hex)
	return id, err == nil
}

// etag returns a strong entity tag: an object's hash; for files that are
// replaced by rename, time and size tell versions apart.
func etag(name string, info fs.FileInfo) string {
	if id, ok := objectID(name); ok {
		return `"` + id.String() + `"`
	}
	return fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
}

func cacheControl(name string) string {
	if _, ok := objectID(name); ok || strings.HasPrefix(name, chunks.CastrDir+"/") {
		return "public, max-age=31536000, immutable"
	}
	return "no-cache" // which means: ask whether it has changed
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".sig":
		return "application/pgp-signature"
	case ".txt", ".cfg", ".ipxe":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// answer counts what goes out and moves the write deadline on with every piece
// that the client takes.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.extend()
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// ReadFrom copies piece by piece, each with its own deadline. A piece is the
// file with one limit around it, the form in which the kernel does the copying
// (sendfile, see net.TCPConn.ReadFrom).
func (a *answer) ReadFrom(r io.Reader) (total int64, err error) {
	rest, ok := r.(*io.LimitedReader)
	if !ok {
		rest = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for rest.N > 0 {
		a.extend()
		n, err := io.Copy(a.ResponseWriter, &io.LimitedReader{R: rest.R, N: min(rest.N, pieceBytes)})
		rest.N -= n
		a.bytes += n
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// extend gives the client time for one more piece. A writer without deadlines,
// as tests use, needs none.
func (a *answer) extend() {
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(pieceTime))
}
