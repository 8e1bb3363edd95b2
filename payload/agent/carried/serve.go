package carried

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/agent/cachedisk"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/report"
)

// again is the pause between two tries to get a network, or the image's index.
const again = 2 * time.Second

// rootsFile is where Go looks for CA certificates.
const rootsFile = "/etc/ssl/certs/ca-certificates.crt"

// server is the process that serves the image.
type server struct {
	carry.Document
	log, cry func(format string, args ...any) // for the log, and for people
	net      *network.Network
	client   *fetch.Client
	join     func(ctx context.Context) // makes net and client; tests have their own
}

// Serve serves the image. It returns only where it cannot begin.
func Serve() error {
	if os.Getppid() != 1 {
		return errors.New("this is started by /init only")
	}
	s := new(server)
	s.join = s.connect
	return s.serve()
}

// serve is Serve of a server that knows how to join a network.
func (s *server) serve() error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	kmsg, told := os.NewFile(kmsgFile, "kmsg"), os.NewFile(readyFile, "ready")
	s.log, s.cry = printer(kmsg, quiet), printer(kmsg, loud)
	err := s.begin()
	if err != nil {
		s.cry("%v", err)
		return err
	}
	if _, err := told.WriteString(ready); err != nil {
		s.cry("%v", err)
	}
	told.Close()
	select {} // what serves has goroutines of its own
}

// begin makes the device.
func (s *server) begin() error {
	data, err := os.ReadFile(carry.File)
	if err != nil {
		return err
	}
	if s.Document, err = carry.Decode(data); err != nil {
		return err
	}
	files := map[string][]byte{}
	if s.HTTPS() {
		if files[rootsFile], err = os.ReadFile(carry.Roots); err != nil {
			return err
		}
	}
	protect(s.log)
	if err := ownRoot(carry.Dir+"/root", files); err != nil {
		return err
	}
	ctx := context.Background()
	s.join(ctx)
	r := s.open(ctx)
	_, err = blockdev.Open(ctx, blockdev.Config{
		Door: s.Door, Device: s.Device, Source: blockdev.Source{ReaderAt: &watched{ReaderAt: r, tell: s.tell}, Size: r.Size()}, Dir: "/tmp", Log: s.log,
	})
	if err != nil {
		return err
	}
	s.log("image: %s has %d bytes, by %s", s.Device, r.Size(), s.Door)
	guard.Go("telling of a boot", func() error { s.tellProfile(r); return nil }, func(err error) { guard.Tell(err, s.log) })
	return nil
}

// protect keeps the kernel from killing this process where memory is short, and its
// memory out of swap: whoever waits for a page would wait for this.
func protect(log func(format string, args ...any)) {
	err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	// On fault: what Go reserves it need not use.
	if err = errors.Join(err, unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT)); err != nil {
		log("image: its server may be ended or swapped: %v", err)
	}
	debug.SetGCPercent(50) // chunks come and go
}

// connect gives the machine a network, however long that takes.
func (s *server) connect(ctx context.Context) {
	for {
		inner, stop := context.WithCancel(ctx)
		s.net = network.Open(inner, os.DirFS("/sys"), network.DefaultLimits(), s.log, s.Networks...)
		nic, lease, err := s.net.Next(ctx)
		if err == nil {
			s.log("network: %s: %s", nic, lease)
			s.client = fetch.New(chunks.FetchLimits(), s.options(lease)...)
			keep(ctx, nic, s.net.Use(), stop, s.log)
			return
		}
		s.cry("network: %v", err)
		s.net.Close()
		stop()
		time.Sleep(again)
	}
}

// options say how servers are reached.
func (s *server) options(lease network.Lease) []fetch.Option {
	options := []fetch.Option{fetch.UnsureClock(s.Time)}
	for _, proxy := range []string{lease.Proxy, s.Proxy} {
		if u, err := url.Parse(proxy); err == nil && proxy != "" {
			return append(options, fetch.ProxyURL(u))
		}
	}
	return options
}

// open opens the image, however long that takes.
func (s *server) open(ctx context.Context) *chunks.Reader {
	c := chunks.Config{
		Client: s.client, Sites: fetch.NewMirrors(s.client, s.log, s.Sites...), Cache: s.cache(ctx), Profile: s.Profile,
		Limits: chunks.DefaultLimits(), Log: s.log,
	}
	for {
		r, err := chunks.Open(ctx, s.Image, c)
		if err == nil {
			return r
		}
		s.cry("image: %v", err)
		time.Sleep(again)
	}
}

// cache opens what is kept on a disk, or returns nil.
func (s *server) cache(ctx context.Context) *imagecache.Cache {
	if s.Cache == nil {
		return nil
	}
	c := local.Config{Sysfs: os.DirFS("/sys"), Dev: "/dev", Dir: "/tmp", LoadModule: func(string) error { return nil }, Log: s.log}
	w := s.Cache
	found, err := cachedisk.Find(ctx, c, cachedisk.Where{Label: w.Label, UUID: w.UUID, Size: w.Size, Build: w.Build, Seen: w.Seen, Overlay: w.Overlay})
	if err != nil {
		s.log("cache: %v", err)
		return nil
	}
	s.log("cache: %s", found.Name)
	return found.Cache
}

// tell tells people that a part of the image cannot be had.
func (s *server) tell(failure error) {
	s.cry("image: [corrupt] %v", failure)
	s.post(func(r *report.Report) {
		r.Outcome, r.Code, r.Text = report.Failed, "corrupt", fmt.Sprintf("%.400v", failure)
	})
}

// learned is how long after its first read an image is taken to have been booted. What
// was read until then is what the next boot will read.
const learned = 3 * time.Minute

// tellProfile tells what a boot has read, once it is over.
func (s *server) tellProfile(r *chunks.Reader) {
	if s.Report == nil {
		return
	}
	time.Sleep(learned)
	s.post(func(to *report.Report) { to.Profile = r.Profile(report.MaxProfile) })
}

// post adds to the story of this boot and sends it.
func (s *server) post(add func(*report.Report)) {
	if s.Report == nil {
		return
	}
	story := s.Report.Story
	story.Time, story.Uptime = time.Now(), story.Uptime+uptime().Milliseconds()
	add(&story)
	err := report.Post(context.Background(), s.client, s.Report.URLs, story)
	if err != nil && !errors.Is(err, report.ErrNotTaken) {
		s.log("report: %v", err)
	}
}

// uptime is how long the machine has been on, as this kernel counts.
func uptime() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// watched is the image, of which failures are told.
type watched struct {
	io.ReaderAt
	tell func(error)
	told gate
}

// ReadAt implements io.ReaderAt.
func (w *watched) ReadAt(p []byte, offset int64) (int, error) {
	n, err := w.ReaderAt.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		w.told.pass("telling of the image", func() { w.tell(err) })
	}
	return n, err
}
