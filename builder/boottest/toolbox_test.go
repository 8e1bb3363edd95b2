//go:build boot && long

package boottest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/vm"
)

// toolsSite runs every tool, in the medium's own toolbox.
const toolsSite = `kind: site
entries:
  tools:
    title: Start every tool
    script:
      program: {file: tools.sh}
      then: off
default: [tools]
`

// toolsScript starts each program that it is given and says which do not start: what
// the shell or timeout(1) cannot run is 126 or 127, a crash is a signal, and the
// loader names libraries itself. A program that waits for somebody has started.
const toolsScript = `#!/bin/sh
n=0
for p in %s; do
	n=$((n+1))
	for how in --version --help -V; do
		timeout -s KILL 20 "$p" $how </dev/null >/tmp/said 2>&1
		status=$?
		case $status in 0|137) break ;; esac
	done
	case $status in 126|127|132|134|135|136|139) bad=yes ;; *) bad= ;; esac
	grep -q 'error while loading shared libraries' /tmp/said && bad=yes
	[ "$bad" ] && echo "does not start: $p, status $status: $(head -c 200 /tmp/said)"
done
echo "$n tools were started"
`

// TestToolbox: every program that the packages of recipes/rescue.yaml bring starts in
// the booted toolbox, be it in memory or read from the stick as it is needed.
func TestToolbox(t *testing.T) {
	text, err := os.ReadFile("../../recipes/rescue.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipe.Parse("rescue.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	tools := programs(t, r.Medium.Toolbox.Packages)
	if len(tools) < 300 || !slices.Contains(tools, "/sbin/e2fsck") || !slices.Contains(tools, "/usr/bin/vim.tiny") {
		t.Fatalf("%d programs: %v", len(tools), tools)
	}
	w := newWorld(t)
	w.write(t, "tools.sh", fmt.Appendf(nil, toolsScript, strings.Join(tools, " ")))
	w.publishes(t, toolsSite)
	for place, bus := range map[string]vm.Bus{"memory": vm.CD, "medium": vm.USB} {
		t.Run(place, func(t *testing.T) {
			w.write(t, "recipes/netboot.yaml", rescueIn(t, text, place, w.url))
			image, _ := w.build(t)
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute) // on a busy computer
			defer cancel()
			m, err := vm.Start(ctx, vm.Config{Image: image, Bus: bus, Memory: 1536})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Stop()
			expect(t, ctx, m, "choose: tools", fmt.Sprintf("| %d tools were started", len(tools)))
			if err := m.Wait(); err != nil {
				t.Errorf("the machine did not end well: %v", err)
			}
			for _, line := range strings.Split(m.Serial(), "\n") {
				if strings.Contains(line, "does not start") {
					t.Error(line)
				}
			}
		})
	}
}

// rescueIn is the shipped recipe with its toolbox in another place, its site the
// test's, and modules compressed the fast way.
func rescueIn(t *testing.T, text []byte, place, url string) []byte {
	t.Helper()
	for _, change := range []struct{ old, new string }{
		{"name: rescue", "name: netboot"}, {"http://10.0.2.2:8080/", url}, {"place: memory ", "place: " + place + " "},
	} {
		if !bytes.Contains(text, []byte(change.old)) {
			t.Fatalf("the recipe has no %q", change.old)
		}
		text = bytes.Replace(text, []byte(change.old), []byte(change.new), 1)
	}
	text, _, _ = bytes.Cut(text, []byte("\n# Where no site has anything"))
	return append(text, "\ncompression: zstd\n"...)
}

// program is a line of tar's list: a file that everybody may run, or a link, in one
// of the folders for programs.
var program = regexp.MustCompile(`(?m)^[-l]\S\S[xs]\S* .* \./((?:usr/)?s?bin/[^/\s]+)(?:\s|$)`)

// programs lists the programs of packages.
func programs(t *testing.T, names []string) []string {
	t.Helper()
	p := fetchPackages(t, names...)
	var all []string
	for _, name := range names {
		path, _, err := p.blobs.Path(recipe.Input{Deb: name})
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range program.FindAllStringSubmatch(command(t, "dpkg", "dpkg-deb", "-c", path), -1) {
			all = append(all, "/"+found[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
