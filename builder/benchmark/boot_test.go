//go:build bench

package benchmark

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// boots is how often each machine is started.
const boots = 3

// patience is how long a machine may take, in emulation on a busy computer.
const patience = 10 * time.Minute

// steps are the stages of a boot and the line of the agent that ends each.
var steps = []struct{ name, line string }{
	{"kernel start to agent", "farboot: .*"},
	{"agent to drivers", "hardware: drivers loaded.*"},
	{"drivers to lease", `network: eth0: 10\..*`},
	{"lease to verified manifest", "manifest: version .*"},
	{"entry chosen", "choose: .*"},
	{"kernel and initrd fetched", "obtain: initrd .* in .*"},
	{"loaded", "load: .*"},
	{"handing over", "handing over: .*"},
}

// machine is what one boot took.
type machine struct {
	firmware time.Duration   // power-on to the kernel's start
	at       []time.Duration // since the kernel's start, for each step's end
	kexec    time.Duration   // last word of the agent to first word of the next kernel
}

// TestBoot measures a machine in emulation: a medium that starts from CD under
// BIOS and hands over to the Debian installer. The figures stand for what the
// agent costs beside what is inevitable, not for what a real machine takes.
func TestBoot(t *testing.T) {
	need(t, "curl", "curl")
	w := newWorld(t)
	initrd := w.plainInitrd(t)
	var agents []machine
	var plains []plain
	for range boots { // in turns, as in race
		agents = append(agents, w.boot(t))
		plains = append(plains, w.bootPlain(t, initrd))
	}
	end := func(step int) time.Duration {
		return middle(agents, func(m machine) time.Duration { return m.at[step] })
	}
	stages := table{title: fmt.Sprintf("On the machine: QEMU without KVM, BIOS, CD, virtio-net, median of %d", boots)}
	stages.row("", "takes", "since kernel start")
	stages.row("firmware and GRUB, whose menu waits 3 s", seconds(middle(agents, func(m machine) time.Duration { return m.firmware })), "")
	for i, s := range steps {
		took := middle(agents, func(m machine) time.Duration {
			if i == 0 {
				return m.at[0]
			}
			return m.at[i] - m.at[i-1]
		})
		stages.row(s.name, seconds(took), seconds(end(i)))
	}
	stages.row("kexec to the next kernel's first line", seconds(middle(agents, func(m machine) time.Duration { return m.kexec })), "")
	stages.print()

	const chosen, fetched, last = 4, 5, 7
	agent := middle(agents, func(m machine) time.Duration { return m.at[fetched] - m.at[chosen] })
	http := middle(plains, func(p plain) time.Duration { return p.http })
	curl := middle(plains, func(p plain) time.Duration { return p.curl })
	w.printFetch(t, agent, http, curl)

	promise := table{title: "The agent against kernel start plus wire time, which is to be less than 1.3x"}
	promise.row("", "", "of the floor")
	floor := end(0) + http
	promise.row("floor: kernel start to agent, plain GET of kernel and initrd in the same machine", seconds(floor), "1.00x")
	promise.row("kernel start to kernel and initrd fetched and verified", seconds(end(fetched)), ratio(end(fetched), floor))
	promise.row("kernel start to handing over", seconds(end(last)), ratio(end(last), floor))
	promise.print()
}

// printFetch compares the agent's downloads with others', in the machine and on
// this computer.
func (w *world) printFetch(t *testing.T, agent, http, curl time.Duration) {
	t.Helper()
	own := race(t, []contender{
		{"farboot's client", "", 9, nil, w.fetch(t)},
		{"curl | sha256sum", "", 9, nil, shell(t, "for url in %s; do curl -sS $url | sha256sum; done", w.urls("127.0.0.1"))},
	})
	out := table{title: fmt.Sprintf("Fetch and verify: the installer's kernel and initrd, %s, from farboot serve", megabytes(w.bytes()))}
	out.row("", "takes", "rate", "of curl")
	row := func(name string, took, than time.Duration) {
		out.row(name, seconds(took), rate(w.bytes(), took), ratio(took, than))
	}
	row("in the machine: agent", agent, curl)
	row("in the machine: net/http and crypto/sha256", http, curl)
	row("in the machine: curl | sha256sum", curl, curl)
	row("on this computer: farboot's client", own[0].wall, own[1].wall)
	row("on this computer: curl | sha256sum", own[1].wall, own[1].wall)
	out.print()
}

// boot starts the medium once.
func (w *world) boot(t *testing.T) (m machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	started := time.Now()
	v, err := vm.Start(ctx, vm.Config{Image: w.path(image)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	seen := make([]time.Time, 3)
	for i, phrase := range []string{"farboot: ", "command line: ", "Linux version "} {
		if _, err := v.Expect(ctx, phrase); err != nil {
			t.Fatal(err)
		}
		seen[i] = time.Now()
	}
	for _, s := range steps {
		m.at = append(m.at, stamp(t, v.Serial(), s.line))
	}
	m.firmware = seen[0].Sub(started) - m.at[0]
	m.kexec = seen[2].Sub(seen[1])
	t.Logf("agent: %s", m.at)
	return m
}

// stamp returns the time in front of the first line that matches.
func stamp(t *testing.T, serial, line string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\[ *([0-9.]+)\] ` + line).FindStringSubmatch(serial)
	if found == nil {
		t.Fatalf("no line %q on the console:\n%s", line, serial)
	}
	return parseSeconds(t, found[1])
}

// parseSeconds reads a decimal number of seconds.
func parseSeconds(t *testing.T, s string) time.Duration {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(f * float64(time.Second))
}
