package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/agent/toolbox/toolboxtest"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/google/go-cmp/cmp"
)

// lab is a root file system and what is said there.
type lab struct {
	Config
	mu    sync.Mutex
	lines []string
}

// newLab makes a lab. Objects are their own names.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{}
	l.Config = Config{Root: t.TempDir(), Sys: t.TempDir(), Log: l.log, Need: func(...string) {}}
	l.Fail = func(err error) { l.log("FAIL %v", err) }
	l.Fetch = func(_ context.Context, what string, ref object.Ref, to io.WriterAt) error {
		l.log("fetch %s", what)
		if ref.Size == 666 {
			return errors.New("corrupt")
		}
		_, err := to.WriteAt(fmt.Appendf(nil, "%-*d", int(ref.Size), ref.Size), 0)
		return err
	}
	return l
}

func (l *lab) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *lab) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// saw waits for a line.
func (l *lab) saw(t *testing.T, want string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !strings.Contains(l.said(), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%q is not said:\n%s", want, l.said())
		}
	}
}

// read returns a file below the root.
func (l *lab) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestServices: what a live system is without Xen. One service is restarted when
// somebody kills it, one is not; each line that they print has its name; and in the
// end none of them runs.
func TestServices(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	l.Root = toolboxtest.Tree(t)
	l.Processes = toolbox.NewProcesses(l.Root)
	l.Env = []string{"FARBOOT_ENTRY=live"}
	l.Entry = manifest.Live{Hostname: "live1", Timezone: "Mars/Olympus", Services: []manifest.Service{
		{Name: "again", Program: "/bin/sh", Args: []string{"-c", `echo "up in $FARBOOT_ENTRY as $$"; exec sleep 1000`}, Restart: true},
		{Name: "once", Program: "/bin/sh", Args: []string{"-c", "echo one; echo two >&2; exit 3"}},
		{Name: "missing", Program: "/bin/nothing"},
	}}
	s, err := Start(t.Context(), l.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"without machines: no hypervisor", "live: once: | two", "FAIL the service has ended: once: exit status 3",
		"FAIL the service has ended: missing: the program does not start", "Mars/Olympus is not in the toolbox", "live: again: | up in live as ",
	} {
		l.saw(t, want)
	}
	if name, err := os.Hostname(); err != nil || name != "live1" || l.read(t, "etc/hostname") != "live1\n" {
		t.Errorf("hostname %q, %v", name, err)
	}
	_, pid, _ := strings.Cut(l.said(), "up in live as ")
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(n)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	l.saw(t, "live: again: killed by SIGKILL, starts again in 1 s")
	for until := time.Now().Add(30 * time.Second); strings.Count(l.said(), "up in live as") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal(l.said())
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := l.Processes.Close(time.Second); err != nil {
		t.Error(err)
	}
}

// TestNoHypervisor: machines are an error where nobody could run them, and nothing
// is left of the system.
func TestNoHypervisor(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	l.Processes = toolbox.NewProcesses(l.Root)
	l.Entry.Machines = []manifest.Guest{{Name: "web1"}}
	if _, err := Start(t.Context(), l.Config); !errors.Is(err, ErrHypervisor) || !strings.Contains(err.Error(), "hardware") {
		t.Errorf("on hardware: %v", err)
	}
	for name, text := range map[string]string{"type": "xen\n", "version/major": "4\n", "version/minor": "17\n"} {
		name = filepath.Join(l.Sys, "hypervisor", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(t.Context(), l.Config); !errors.Is(err, ErrXen) {
		t.Errorf("a kernel without xenfs: %v", err)
	}
}

// TestConfigure: what xl reads, and what lies where that says.
func TestConfigure(t *testing.T) {
	l := newLab(t)
	l.Entry.Bridge = "xenbr0"
	s := &System{Config: l.Config, objects: map[string]string{}}
	kernel, first, second := object.Ref{Size: 3}, object.Ref{Size: 4}, object.Ref{Size: 5}
	g := manifest.Guest{
		Name: "web1", Kernel: kernel, Initrd: []object.Ref{first, second}, Cmdline: `a="b c" d='e' \n`, Memory: 48, MAC: "00:16:3e:00:00:01",
	}
	config, err := s.configure(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	want := `name = "web1"
type = "pv"
kernel = "/var/lib/farboot/1"
extra = "a=\x22b c\x22 d=\x27e\x27 \x5cn"
memory = 48
vcpus = 1
ramdisk = "/var/lib/farboot/2"
vif = ["mac=00:16:3e:00:00:01,script=/etc/xen/farboot/vif,bridge=xenbr0"]
`
	if diff := cmp.Diff(want, l.read(t, config)); diff != "" {
		t.Error(diff)
	}
	if got := l.read(t, "/var/lib/farboot/2"); got != "4   5    " {
		t.Errorf("initrd %q", got)
	}
	g.Name, g.Type, g.VCPUs, g.MAC = "web2", "pvh", 2, ""
	if config, err = s.configure(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if got := l.read(t, config); !strings.Contains(got, `type = "pvh"`) || !strings.Contains(got, "vcpus = 2") || !strings.Contains(got, `vif = ["script=/etc/xen/farboot/vif,bridge=xenbr0"]`) {
		t.Error(got)
	}
	if n := strings.Count(l.said(), "fetch"); n != 3 {
		t.Errorf("%d downloads, want 3: what two machines have is fetched once", n)
	}
	g.Kernel.Size = 666
	if _, err := s.configure(t.Context(), g); err == nil {
		t.Error("a kernel that cannot be had is no error")
	}
	if left, err := filepath.Glob(filepath.Join(l.Root, store, "3")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestFollow: what machines print is shown by name, and a file that grows long
// begins anew.
func TestFollow(t *testing.T) {
	l := newLab(t)
	s := &System{Config: l.Config}
	name := filepath.Join(l.Root, consoleDir, "guest-web1.log")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.followConsoles(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	write := func(text string) {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write("hello\x1b[2J\r\nwor")
	l.saw(t, "web1: | hello")
	write("ld\n")
	l.saw(t, "web1: | world")
	write(strings.Repeat("x", maxLog) + "\n")
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(name); err == nil && info.Size() == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the file stays long")
		}
	}
	write("afterwards\n")
	l.saw(t, "web1: | afterwards")
}
