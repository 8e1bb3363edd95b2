//go:build bench

package benchmark

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// toolboxSite runs a script in the medium's own toolbox and switches off.
const toolboxSite = `kind: site
product: demo
entries:
  hello:
    title: Say hello
    script:
      program:
        text: |
          #!/bin/sh
          e2fsck -V
          grep MemAvailable /proc/meminfo
      then: off
default: [hello]
`

// TestToolboxPlace boots recipes/rescue.yaml with its toolbox in memory, and read from
// the stick on demand, up to the end of a script that starts one tool.
func TestToolboxPlace(t *testing.T) {
	w := newWorld(t)
	w.write(siteRecipe, []byte(toolboxSite))
	os.Remove(w.path("recipes/demo-site.lock")) //nolint:errcheck // there may be none
	w.publish()
	text, err := os.ReadFile("../../" + rescueRecipe)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ = bytes.Cut(text, []byte("\n# Where no site has anything"))
	out := table{title: fmt.Sprintf("The toolbox of %s in memory and on demand: QEMU without KVM, BIOS, USB 3 stick, 1 GiB, median of %d", rescueRecipe, boots)}
	out.row("", "image", "initrd", "agent starts", "toolbox open", "script done", "memory left")
	for _, place := range []string{"memory", "medium"} {
		w.write(rescueRecipe, text)
		w.replace(rescueRecipe, ":8080/", ":"+w.port+"/")
		w.replace(rescueRecipe, "place: memory ", "place: "+place+" ")
		w.farboot("build", rescueRecipe)
		out.row(append([]string{place, megabytes(size(t, w.path("out/rescue.iso"))), megabytes(size(t, w.path("out/rescue/boot/initrd.img")))}, w.bootToolbox(t)...)...)
	}
	out.print()
}

// bootToolbox boots the rescue medium some times and returns, as cells, when the agent
// starts, when the toolbox is open and when the script has ended, since the kernel's
// start, and the memory that is left.
func (w *world) bootToolbox(t *testing.T) (cells []string) {
	t.Helper()
	lines := []string{"farboot: .*", "hello: Say hello: begins", "handing over: hello"}
	times := make([][]time.Duration, len(lines))
	var left string
	for range boots {
		serial := w.bootRescue(t)
		for i, line := range lines {
			times[i] = append(times[i], stamp(t, serial, line))
		}
		if found := memoryLeft.FindStringSubmatch(serial); found != nil {
			left = found[1]
		}
	}
	for _, all := range times {
		cells = append(cells, seconds(middle(all, func(d time.Duration) time.Duration { return d })))
	}
	return append(cells, left)
}

// memoryLeft is what the script prints.
var memoryLeft = regexp.MustCompile(`MemAvailable: +([0-9]+ kB)`)

// bootRescue boots it once, up to the machine's end, and returns what it printed.
func (w *world) bootRescue(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, vm.Config{Image: w.path("out/rescue.iso"), Bus: vm.USB})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	if _, err := v.Expect(ctx, "handing over: hello"); err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(); err != nil {
		t.Fatal(err)
	}
	return v.Serial()
}
