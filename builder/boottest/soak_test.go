//go:build boot

package boottest

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// The long run is "make soak".
var (
	soakBoots = flag.Int("soak.boots", 10, "how many machines TestSoak boots")
	soakSeed  = flag.Uint64("soak.seed", 1, "what TestSoak draws its faults from; 0 is the clock")
	soakFirst = flag.Int("soak.first", 1, "the number of the first boot, to see one of a seed again")
)

// TestSoak boots machines one after the other, each with faults that are drawn
// from a seed and its number, so that a run can be had again. Whatever breaks, a
// machine has to come to the kernel of its manifest, or to the medium's own where
// no site ever answers; and never to another one. The table says how.
func TestSoak(t *testing.T) {
	seed := cmp.Or(*soakSeed, uint64(time.Now().UnixNano()))
	t.Logf("%d boots from number %d with -soak.seed=%d", *soakBoots, *soakFirst, seed)
	var next atomic.Int64
	table := newSoakTable()
	t.Run("boots", func(t *testing.T) {
		for range 2 { // one for each processor of CI
			t.Run("lab", func(t *testing.T) {
				t.Parallel()
				l := newSoakLab(t)
				for n := int(next.Add(1)); n <= *soakBoots && t.Context().Err() == nil; n = int(next.Add(1)) {
					table.add(t, l.boot(t, l.draw(seed, *soakFirst+n-1)))
				}
			})
		}
	})
	t.Logf("seed %d\n%s", seed, table)
}

// soakLab is a world with two sites, of which either may lie, a medium for
// both, and a stick of it, on which machines remember from boot to boot.
type soakLab struct {
	*world
	mirrors [2]*mirror
	answer  [2]atomic.Pointer[http.Handler]
	good    http.Handler
	medium  string // the folder with the medium's kernel and initrd
	stick   string
}

// Machines of the soak, which differ in what they boot: by the last digits of
// their MACs.
const (
	plainMachine   = "01" // what runs
	garbageMachine = "02" // what is no kernel, then what runs
	missingMachine = "03" // what the sites have lost, then what runs
	panicsMachine  = "04" // what panics, then what runs
	soakMAC        = "52:54:00:50:00:"

	panicCmdline = "console=ttyS0,115200 quiet panic=1 no_timer_check farboot.panic"
	panicRuns    = "next kernel runs: " + panicCmdline
)

// newSoakLab builds a world.
func newSoakLab(t *testing.T) *soakLab {
	t.Helper()
	l := &soakLab{world: newWorld(t)}
	kernel := `{deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}`
	l.write(t, "garbage", []byte(strings.Repeat("this is no kernel\n", 10_000)))
	l.write(t, "lost", []byte(strings.Repeat("this will be lost\n", 10_000)))
	l.write(t, "recipes/site.yaml", []byte(strings.Replace(siteRecipe, "machines:\n", `  garbage: {title: No kernel, linux: {kernel: {file: garbage}}}
  missing: {title: Lost, linux: {kernel: {file: lost}}}
  panics:
    title: Panics
    linux: {kernel: `+kernel+`, initrd: [{file: marker.img}], cmdline: "`+panicCmdline+`", watchdog: 60}
machines:
  - {match: {mac: "`+soakMAC+garbageMachine+`"}, boot: [garbage, marker]}
  - {match: {mac: "`+soakMAC+missingMachine+`"}, boot: [missing, marker]}
  - {match: {mac: "`+soakMAC+panicsMachine+`"}, boot: [panics, marker]}
`, 1)))
	l.farboot(t, "lock", "--update", "recipes/site.yaml")
	l.publish(t)
	if err := os.Remove(filepath.Join(l.site, l.linux(t, "missing").Kernel.Path())); err != nil {
		t.Fatal(err)
	}
	l.good = site.Handler(l.site, nil)
	for i := range l.mirrors {
		l.answer[i].Store(&l.good)
		l.mirrors[i] = new(mirror)
		l.mirrors[i].listen(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*l.answer[i].Load()).ServeHTTP(rw, r) }))
	}
	l.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"compression: zstd\n"+l.fallback(t), l.mirrors[0].url+`", "`+l.mirrors[1].url))
	image, folder := l.build(t)
	l.medium, l.stick = filepath.Join(folder, "boot"), stick(t, image)
	return l
}

// soakResult is a line of the table.
type soakResult struct {
	soakPlan
	said    []string // reason codes, in their order
	rounds  int
	runs    string // what came up
	seconds float64
}

// boot boots one machine.
func (l *soakLab) boot(t *testing.T, p soakPlan) soakResult {
	t.Helper()
	for i := range l.answer {
		site := l.good
		if lies := p.lies[i]; len(lies) > 0 {
			site = evil.New(l.good, lies...)
		}
		l.answer[i].Store(&site)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begin := time.Now()
	serial, cut := l.power(t, ctx, p, p.events)
	if cut { // the plug is back
		more, _ := l.power(t, ctx, p, nil)
		serial += more
	}
	r := soakResult{soakPlan: p, runs: "STRANDED", seconds: time.Since(begin).Seconds()}
	r.said, r.rounds = codes(serial), 1+strings.Count(serial, "starting over")
	switch {
	case p.foreign(serial) != "":
		t.Errorf("boot %d starts %q; faults: %s; serial console:\n%s", p.number, p.foreign(serial), p, serial)
	case strings.Contains(serial, markerRuns):
		r.runs = "manifest's"
	case strings.Contains(serial, fallbackRuns):
		r.runs = "medium's"
	default:
		t.Errorf("boot %d is stranded; faults: %s; serial console:\n%s", p.number, p, serial)
	}
	return r
}

// foreign returns the first line of a kernel that this machine must not start.
func (p soakPlan) foreign(serial string) string {
	for line := range strings.Lines(serial) {
		ours := strings.HasPrefix(line, markerRuns) || p.dead && strings.HasPrefix(line, fallbackRuns) ||
			p.panics && strings.HasPrefix(line, panicRuns)
		if strings.HasPrefix(line, "next kernel runs: ") && !ours {
			return line
		}
	}
	return ""
}

// reasonCode is how the agent names what failed.
var reasonCode = regexp.MustCompile(`: \[([a-z]+(?:-[a-z]+)*)\] `)

// codes lists reason codes in the order of their first appearance, with how
// often each came where that is more than once.
func codes(serial string) []string {
	var order []string
	times := map[string]int{}
	for _, match := range reasonCode.FindAllStringSubmatch(serial, -1) {
		if times[match[1]]++; times[match[1]] == 1 {
			order = append(order, match[1])
		}
	}
	for i, code := range order {
		if n := times[code]; n > 1 {
			order[i] = fmt.Sprintf("%s(%d)", code, n)
		}
	}
	return order
}

// power switches the machine on and lets events happen. It returns when the next
// kernel has run or the plug is pulled, with what the machine has shown.
func (l *soakLab) power(t *testing.T, ctx context.Context, p soakPlan, events []soakEvent) (serial string, cut bool) {
	t.Helper()
	m, err := vm.Start(ctx, p.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var pulled atomic.Bool
	var happening sync.WaitGroup
	for _, e := range events {
		happening.Go(func() {
			if !shows(ctx, m, e.after) {
				return
			}
			if e.cut {
				pulled.Store(true)
			}
			e.do(ctx, m)
		})
	}
	_, err = m.Expect(ctx, markerRuns+"\n", fallbackRuns+"\n")
	cancel()
	m.Stop()
	happening.Wait()
	return m.Serial(), err != nil && pulled.Load()
}

// shows waits until the serial console has shown the phrase, and tells whether
// it has. Unlike Expect it is for any number of callers.
func shows(ctx context.Context, m *vm.VM, phrase string) bool {
	for !strings.Contains(m.Serial(), phrase) {
		if !sleep(ctx, 50*time.Millisecond) {
			return false
		}
	}
	return true
}

// sleep waits and tells whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// soakTable collects what came of boots.
type soakTable struct {
	mu      sync.Mutex
	results []soakResult
}

func newSoakTable() *soakTable { return new(soakTable) }

// add adds a boot and says that it is over.
func (s *soakTable) add(t *testing.T, r soakResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results = append(s.results, r)
	t.Logf("boot %d: %s kernel after %.0f s (%s)", r.number, r.runs, r.seconds, r)
}

// String returns the table, and the sum.
func (s *soakTable) String() string {
	slices.SortFunc(s.results, func(a, b soakResult) int { return cmp.Compare(a.number, b.number) })
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BOOT\tMACHINE\tFAULTS\tSAID\tROUNDS\tKERNEL\tSECONDS")
	stranded, total := 0, 0.0
	for _, r := range s.results {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%.0f\n", r.number, r.machine, r.soakPlan, cmp.Or(strings.Join(r.said, " "), "-"), r.rounds, r.runs, r.seconds)
		total += r.seconds
		if r.runs == "STRANDED" {
			stranded++
		}
	}
	w.Flush()
	fmt.Fprintf(&out, "%d boots, %d stranded, %.0f s each\n", len(s.results), stranded, total/float64(max(1, len(s.results))))
	return out.String()
}
