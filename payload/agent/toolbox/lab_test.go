package toolbox

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/agent/toolbox/toolboxtest"
	"golang.org/x/sys/unix"
)

// open opens a toolbox.
func open(t *testing.T, free int64) *Toolbox {
	t.Helper()
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(resolv, []byte("nameserver 192.0.2.1\n"), 0o644))
	img := toolboxtest.Image(t) // before the reaper, which takes all children
	box, err := Open(t.Context(), Config{
		Image: img, Dir: filepath.Join(t.TempDir(), "with blank"), Free: free, Resolv: resolv, Log: t.Logf,
	})
	must(t, err)
	t.Cleanup(func() { box.Close() })
	return box
}

// sh runs a line in the shell and returns what it printed, and how it ended.
func (p *Processes) sh(t *testing.T, line string) (string, Status) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	proc, err := p.Start(Command{Args: []string{"/bin/sh", "-c", line}, Env: []string{"PATH=/bin"}, Dir: "/", Stdout: w, Stderr: w})
	w.Close()
	must(t, err)
	out, err := io.ReadAll(r)
	must(t, err)
	return string(out), proc.Status()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// others lists the processes of the machine but this one, zombies included.
func others(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	var all []string
	for _, name := range entries {
		if data, err := os.ReadFile(name); err == nil && !strings.HasPrefix(string(data), "1 ") {
			all = append(all, string(data))
		}
	}
	return all
}

// mounted lists what is mounted below a folder.
func mounted(t *testing.T, dir string) []string {
	t.Helper()
	points, err := mountsBelow(dir)
	must(t, err)
	return points
}

// inUse tells whether a loop device has a file.
func inUse(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	_, err = unix.IoctlLoopGetStatus64(int(f.Fd()))
	return err == nil
}
