package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/menu"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// built is when the medium was.
var built = time.Now().Add(-time.Hour).Truncate(time.Second).UTC()

// The machine's artifacts. The first initrd's size is no multiple of 4.
var (
	kernel = bytes.Repeat([]byte("kernel"), 1000)
	first  = []byte("first")
	second = []byte("second initrd")
)

// lab is a machine, a medium and what a site holds for them.
type lab struct {
	keys     *trusttest.Site
	manifest manifest.Manifest
	sites    []string
	limits   Limits
	machine  manifest.Identity

	next      func() error // the network's, nil is always there
	load      func() error
	loadXen   func(handover.Xen) error
	execute   func() error
	available int64
	drivers   int64         // what is free beside when they are dropped
	ahead     time.Duration // of the firmware's clock
	places    []string
	memory    state.State // what the places remember
	remember  func() error
	settings  settings.Settings

	carried  fstest.MapFS // objects on the medium
	bootNext func() (string, error)
	bark     bool
	chosen   string            // at the menu
	stick    map[string]string // files on it
	objects  string            // a folder with objects on the medium, in the place of carried
	disks    []disks.Disk
	flash    func(ctx context.Context, job flash.Job) (flash.Result, error)
	image    string // a folder in the place of the medium's image
	works    works  // in toolboxes
	cmdline  string // the kernel's
	carriage Carriage
	armError error

	mu         sync.Mutex
	lines      []string
	loaded     []loaded
	executed   int
	dropped    int
	rebooted   int
	poweredOff int
	armed      []time.Duration
	disarmed   int
	posted     []string
	menus      []menu.Menu
	flashed    []string // nodes
	reports    []report.Report
	opened     int // networks
	networks   [][]netconf.Network
	closed     int
	quiet      int
	clock      time.Time
	saved      []state.State
	stop       context.CancelFunc
	stopOn     string // the log line that ends the test
}

// loaded is what was handed to kexec.
type loaded struct{ image, initrd, cmdline string }

// newLab returns a machine whose site offers it one good entry.
func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{
		keys: trusttest.New(t, "demo", built),
		manifest: manifest.Manifest{
			Format: manifest.Format, Epoch: 1, Version: 12, Issued: built.Add(time.Minute), Expires: built.AddDate(1, 0, 0),
			Product: "demo", Arch: "amd64", Channel: "stable",
			Entries: map[string]manifest.Entry{"installer": {Title: "Debian installer", Linux: &manifest.Linux{
				Kernel:  object.OfBytes(kernel),
				Initrd:  []object.Ref{object.OfBytes(first), object.OfBytes(second)},
				Cmdline: "console=ttyS0 quiet",
			}}},
			Default: []string{"installer"},
		},
		limits:    quick(),
		machine:   manifest.Identity{MACs: []string{"52:54:00:12:34:56"}, Serial: "ABC"},
		available: -1,
		stopOn:    "waiting ",
	}
}

// quick returns limits that make failures quick.
func quick() Limits {
	l := DefaultLimits()
	l.Documents.Attempts, l.Objects.Attempts = 1, 1
	l.Publication, l.Gather = 10*time.Millisecond, 5*time.Second
	l.Backoff, l.BackoffMax = time.Millisecond, 2*time.Millisecond
	return l
}

// files returns a good site's content.
func (l *lab) files(t *testing.T) map[string][]byte {
	t.Helper()
	data, err := manifest.Encode(&l.manifest)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		manifest.File:      data,
		manifest.Signature: l.keys.Sign(t, data, built.Add(time.Minute)),
	}
	for _, data := range [][]byte{kernel, first, second} {
		files[object.OfBytes(data).Path()] = data
	}
	return files
}

// site serves files and adds the site to those that the medium names.
func (l *lab) site(t *testing.T, files map[string][]byte) *site {
	t.Helper()
	s := newSite(t, files)
	l.sites = append(l.sites, s.URL+"/")
	return s
}

// badSite serves files with faults and adds the site, as site does.
func (l *lab) badSite(t *testing.T, files map[string][]byte, faults ...evil.Fault) *evil.Server {
	t.Helper()
	s := evil.Serve(t, newSite(t, files).Config.Handler, faults...)
	l.sites = append(l.sites, s.URL)
	return s
}

// medium returns the medium's files.
func (l *lab) medium(t *testing.T) fstest.MapFS {
	t.Helper()
	s := l.settings
	s.Site, s.Arch, s.Channel, s.Build, s.Built = l.sites, "amd64", "stable", "test", built
	config, err := settings.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{
		"etc/farboot/settings.json":            {Data: config},
		"etc/farboot/trust/statement.json":     {Data: l.keys.Statement},
		"etc/farboot/trust/statement.json.sig": {Data: l.keys.Signature},
	}
}

// run boots the machine until it hands over or prints the line to stop on.
func (l *lab) run(t *testing.T) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	l.stop = stop
	medium, err := ReadMedium(l.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	return Run(ctx, l.rooms(), medium, l.limits)
}

// rooms connects the stages with the lab.
func (l *lab) rooms() Rooms {
	counted := func(n *int, f func() error) func() error {
		return func() error {
			l.mu.Lock()
			*n++
			l.mu.Unlock()
			if f != nil {
				return f()
			}
			return nil
		}
	}
	return Rooms{
		Log:       l.log,
		Flush:     func(time.Duration) bool { return true },
		Ready:     func(context.Context, time.Duration) error { return nil },
		Drop:      counted(&l.dropped, func() error { l.available += l.drivers; return nil }),
		Available: func() int64 { return l.available },
		Cmdline:   func() string { return l.cmdline },
		Carriage:  l.carriage,
		Identity:  func() manifest.Identity { return l.machine },
		Now:       func() time.Time { return time.Now().Add(l.ahead) },
		SetClock: func(t time.Time) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.clock = t
			return nil
		},
		Secret:   l.works.keep,
		Recall:   l.recall,
		Remember: l.save,
		Places:   func() []string { return l.places },
		Holder:   func() string { return strings.Join(l.places, "") },
		Tools:    l.works.open,
		OnMedium: func(name string) (fs.File, error) { return os.DirFS(l.image).Open(name) },
		Network: func(_ context.Context, _ network.Limits, networks ...netconf.Network) Network {
			l.opened++
			l.networks = append(l.networks, networks)
			return &wire{lab: l, networks: networks}
		},
		ReadFile: func(name string, _ int64) ([]byte, string, error) {
			if data, ok := l.stick[name]; ok {
				return []byte(data), "a stick", nil
			}
			return nil, "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		},
		Load:    l.loadKernel,
		LoadXen: func(x handover.Xen) error { return l.loadXen(x) },
		Objects: l.onMedium(),
		Systems: func(context.Context) ([]local.System, func() error, error) {
			return nil, nil, fmt.Errorf("%w: no disk", local.ErrNone)
		},
		Disks: func() ([]disks.Disk, error) { return l.disks, nil },
		Flash: func(ctx context.Context, node string, job flash.Job) (flash.Result, error) {
			l.flashed = append(l.flashed, node)
			return l.flash(ctx, job)
		},
		Choose: func(_ context.Context, m menu.Menu) (string, string, error) {
			l.menus = append(l.menus, m)
			if l.chosen == "" {
				return m.Items[0].Name, "", nil
			}
			return l.chosen, "ttyS0", nil
		},
		BootNext: func() (string, error) { return l.bootNext() },
		Reboot:   counted(&l.rebooted, nil),
		PowerOff: counted(&l.poweredOff, nil),
		Bark:     func() bool { return l.bark },
		Arm: func(d time.Duration) (time.Duration, error) {
			l.armed = append(l.armed, d)
			return d, l.armError
		},
		Disarm: counted(&l.disarmed, nil),
		Story:  report.NewRecorder(func() time.Duration { return time.Since(built) }, report.Report{Boot: report.BootID(fstest.MapFS{})}),
		Post: func(_ context.Context, _ *fetch.Client, urls []string, r report.Report) error {
			if l.closed >= l.opened {
				return errors.New("there is no network")
			}
			l.posted, l.reports = append(l.posted, urls...), append(l.reports, r)
			return nil
		},
		Execute: counted(&l.executed, func() error {
			if l.execute == nil {
				return nil
			}
			return l.execute()
		}),
	}
}

// onMedium are the objects on the medium.
func (l *lab) onMedium() fs.FS {
	if l.objects != "" {
		return os.DirFS(l.objects)
	}
	return l.carried
}

// recall stands for persist's Load.
func (l *lab) recall() state.State {
	l.memory.Product, l.memory.Channel = "demo", "stable"
	return l.memory
}

// save stands for persist's Save.
func (l *lab) save(s state.State) error {
	if l.remember != nil {
		if err := l.remember(); err != nil {
			return err
		}
	}
	if len(l.places) > 0 {
		l.memory = s
	}
	l.saved = append(l.saved, s)
	return nil
}

// log takes a line and ends the test where it is the last one wanted.
func (l *lab) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	if l.stop != nil && strings.Contains(l.lines[len(l.lines)-1], l.stopOn) {
		l.stop()
	}
}

// loadKernel stands for kexec_file_load(2).
func (l *lab) loadKernel(k handover.Kernel) error {
	if l.load != nil {
		if err := l.load(); err != nil {
			return err
		}
	}
	got := loaded{cmdline: k.Cmdline, image: content(k.Image)}
	if k.Initrd != nil {
		got.initrd = content(k.Initrd)
	}
	l.loaded = append(l.loaded, got)
	return nil
}

// content reads memory as the kernel would.
func content(m *handover.Memory) string {
	data, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// said returns the lines that begin with prefix.
func (l *lab) said(prefix string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}
