package hardware

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/farboot/farboot/payload/modules"
	"golang.org/x/sys/unix"
)

// The pause between two looks for new hardware that nobody announced. A look lists
// some 30 directories and reads a file of each new device.
const (
	rescan     = 5 * time.Second        // where the kernel announces what is new
	rescanDeaf = 500 * time.Millisecond // where it does not
)

// maxPasses bounds the passes of one scan: how deep buses may hang below each
// other. PCI, a hub, another hub and a card are 4.
const maxPasses = 16

// Loader loads the drivers that the hardware asks for by modalias, each once.
type Loader struct {
	sysfs  fs.FS
	index  *modules.Index
	insert func(file string) error
	news   func(ctx context.Context, log func(format string, args ...any)) (<-chan struct{}, error)
	log    func(format string, args ...any)

	mu    sync.Mutex      // held while modules are loaded
	there map[string]bool // devices at the last look
	tried map[string]bool // module files

	first   chan struct{} // closed after the first scan
	dropped atomic.Bool
	dir     string
}

// NewLoader returns a Loader over the modules in dir, /lib/modules/<release>,
// and the file tree of /sys. Where the modules cannot be read it says so and
// loads none: a kernel may have all it needs built in.
func NewLoader(sysfs fs.FS, dir string, log func(format string, args ...any)) *Loader {
	index, err := modules.Read(os.DirFS(dir))
	if err != nil {
		log("hardware: no drivers can be loaded: %v", err)
		index = new(modules.Index)
	}
	l := &Loader{
		sysfs: sysfs, index: index, log: log, dir: dir,
		tried: map[string]bool{}, first: make(chan struct{}), news: news,
	}
	l.insert = l.finit
	return l
}

// Run loads drivers for what is there and for what appears later, until ctx ends
// or [Loader.Drop]. It is meant for a goroutine of its own.
func (l *Loader) Run(ctx context.Context) {
	pause := rescan
	news, err := l.news(ctx, l.log) // before the first look, so that nothing falls between
	if err != nil {
		l.log("hardware: new devices are not announced: %v", err)
		pause = rescanDeaf
	}
	l.scan()
	close(l.first)
	for !l.dropped.Load() {
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-time.After(pause):
		}
		l.scan()
	}
}

// Wait returns once all hardware that was there at the start has been answered,
// or after limit, or when ctx ends. A driver may take its time over a probe.
func (l *Loader) Wait(ctx context.Context, limit time.Duration) {
	select {
	case <-l.first:
	case <-ctx.Done():
	case <-time.After(limit):
		l.log("hardware: a driver is still busy after %.0f s, going on without it", limit.Seconds())
	}
}

// Drop deletes the modules from the initramfs, which is RAM: with every wired
// driver of a Debian kernel about 45 MB. Hardware that appears after it needs a
// driver that is loaded already.
func (l *Loader) Drop() error {
	l.dropped.Store(true)
	return os.RemoveAll(l.dir)
}

// Need loads modules that no hardware asks for, by name, such as VLANs: the
// kernel would ask modprobe(8), which is not here. It waits for a driver that is
// busy, and does nothing after [Loader.Drop].
func (l *Loader) Need(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		l.load(name)
	}
}

// scan answers the modaliases of all new devices, and again, since the driver of
// a bus makes more of them, until none is new.
func (l *Loader) scan() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var drivers []string
	for range maxPasses {
		fresh := l.fresh()
		if len(fresh) == 0 {
			break
		}
		for _, alias := range fresh {
			for _, name := range l.index.Match(alias) {
				if l.load(name) {
					drivers = append(drivers, name)
				}
			}
		}
	}
	if len(drivers) > 0 {
		l.log("hardware: drivers loaded: %s", strings.Join(drivers, " "))
	}
}

// fresh lists the modaliases of devices that were not there a scan before. It
// goes by the buses: a walk of all of /sys/devices takes 20 times as long.
func (l *Loader) fresh() []string {
	var found []string
	there := map[string]bool{}
	buses, _ := fs.ReadDir(l.sysfs, "bus")
	for _, bus := range buses {
		dir := path.Join("bus", bus.Name(), "devices")
		devices, _ := fs.ReadDir(l.sysfs, dir)
		for _, d := range devices {
			device := path.Join(dir, d.Name())
			there[device] = true
			if l.there[device] {
				continue
			}
			found = append(found, modaliases(l.sysfs, device)...)
		}
	}
	l.there = there
	return found
}

// modaliases returns what the device asks for its driver by. An Ethernet PHY has
// no file modalias: the kernel asks modprobe(8), which is not here, by the 32
// bits of its id as digits, the highest first (MDIO_ID_FMT in
// include/linux/mod_devicetable.h). One of clause 45 has an id for each of its
// parts instead (phy_device_create in phy_device.c); sysfs shows them since Linux
// 6.17, so before it such a PHY is left to the kernel's generic driver.
func modaliases(sysfs fs.FS, device string) []string {
	if alias := value(sysfs, device+"/modalias"); alias != "" {
		return []string{alias}
	}
	ids := []string{value(sysfs, device+"/phy_id")}
	parts, _ := fs.ReadDir(sysfs, device+"/c45_phy_ids")
	for _, p := range parts {
		ids = append(ids, value(sysfs, device+"/c45_phy_ids/"+p.Name()))
	}
	var found []string
	for _, text := range ids {
		// All ones say that there is no such part, zero that it has no id.
		if id, err := strconv.ParseUint(text, 0, 32); err == nil && id != 0 && id != math.MaxUint32 {
			found = append(found, fmt.Sprintf("mdio:%032b", id))
		}
	}
	return found
}

// load inserts what the module needs and last the module itself, and tells
// whether that one is new and in. What fails is reported once and does not keep
// the files after it out: it may be a mere wish, see [modules.Index.Order], and
// where it is not, the kernel refuses the module itself.
func (l *Loader) load(name string) bool {
	files, err := l.index.Order(name)
	if err != nil {
		l.log("hardware: driver %s: %v", name, err)
		return false
	}
	in := false
	for _, file := range files {
		if l.dropped.Load() {
			return false
		}
		if in = !l.tried[file]; !in {
			continue
		}
		l.tried[file] = true
		if err := l.insert(file); err != nil {
			l.log("hardware: driver %s: %s: %v", name, path.Base(file), err)
			in = false
		}
	}
	return in
}

// finit inserts one module file, with a path below the Loader's directory. What
// is in the kernel already counts as inserted.
func (l *Loader) finit(file string) error {
	f, err := os.Open(path.Join(l.dir, file))
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), parameters(file), 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// parameters returns what a module is told. The core of the watchdogs stops most
// timers when the kernel restarts, and kexec is a restart to it
// (stop_on_reboot in drivers/watchdog/watchdog_core.c, which only the moment of
// loading can set); a timer that outlives the jump is why the agent arms one.
func parameters(file string) string {
	if path.Base(file) == "watchdog.ko" {
		return "stop_on_reboot=0"
	}
	return ""
}
