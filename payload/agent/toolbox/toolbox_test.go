package toolbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox/toolboxtest"
	"golang.org/x/sys/unix"
)

// What a program finds in the toolbox.
func TestInside(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	box := open(t, 64<<20)
	for _, test := range []struct{ line, want string }{
		{"echo hello; pwd", "hello\n/\n"},
		{"cat /etc/resolv.conf", "nameserver 192.0.2.1\n"},
		{"stat -c %F /proc/1/stat /sys/block /dev/null /dev/ptmx /dev/pts/ptmx", "regular empty file\ndirectory\ncharacter special file\ncharacter special file\ncharacter special file\n"},
		{"stat -f -c %T /dev/pts /run /dev/shm", "devpts\ntmpfs\ntmpfs\n"},
		{"stat -c '%a %n' /tmp /root", "1777 /tmp\n700 /root\n"},
		{"echo x > /bin/new && cat /bin/new", "x\n"},
		{"cat < /dev/fd/0 > /dev/stdout", ""},
		{"ls -d /proc/self/task/1 /work /image 2>/dev/null", ""},
		{"id -u", "0\n"},
	} {
		if out, status := box.Processes().sh(t, test.line); out != test.want {
			t.Errorf("%s: %q, %s; want %q", test.line, out, status, test.want)
		}
	}
	want, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	got, err := os.ReadFile(filepath.Join(box.Root(), agentName))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("/%s is not this program: %d bytes, %v", agentName, len(got), err)
	}
	must(t, os.WriteFile(box.config.Resolv, []byte("nameserver 192.0.2.2\n"), 0o644))
	must(t, box.Resolve())
	if out, _ := box.Processes().sh(t, "cat /etc/resolv.conf"); out != "nameserver 192.0.2.2\n" {
		t.Errorf("another network has %q", out)
	}
	must(t, box.Close())
}

// What is written is bounded, and the image is not changed.
func TestBounded(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	box := open(t, 2*minUpper)
	out, status := box.Processes().sh(t, "dd if=/dev/zero of=/big bs=1M count=64 2>&1; echo $?")
	if !strings.Contains(out, "No space left on device") {
		t.Errorf("64 MB in %d: %q, %s", minUpper, out, status)
	}
	img := box.config.Image
	before, err := os.ReadFile(img.Name())
	must(t, err)
	if out, _ := box.Processes().sh(t, "echo x > "+box.loop.name); !strings.Contains(out, "not permitted") {
		t.Errorf("writing to the loop device: %q", out)
	}
	must(t, box.Close())
	if after, err := os.ReadFile(img.Name()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image has changed: %v", err)
	}
}

// After Close there is no trace, whatever was left behind in it.
func TestClose(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	box := open(t, -1)
	p := box.Processes()
	// A daemon without a parent, a shell that fights back, and mounts on mounts,
	// one of them hidden by another and one in use.
	for _, line := range []string{
		"setsid sleep 1000 & setsid setsid sh -c 'cd /mnt; sleep 1000' & exit 0",
		"mount -t tmpfs one /mnt && mkdir /mnt/a && mount -t tmpfs two /mnt/a && touch /mnt/a/b && mount -o bind /bin /mnt/a/b || mount -o bind /bin /mnt",
		"mount -t tmpfs three /mnt && cd /mnt && setsid sleep 1000 &",
	} {
		p.sh(t, "exec >/dev/null 2>&1; "+line)
	}
	stubborn, err := p.Start(Command{Args: []string{"/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1 & wait; done"}, Env: []string{"PATH=/bin"}, Dir: "/mnt"})
	must(t, err)
	if len(others(t)) == 0 || len(mounted(t, box.config.Dir)) < 12 {
		t.Errorf("nothing to be cleared away: %d processes, %q", len(others(t)), mounted(t, box.config.Dir))
	}
	if !inUse(t, box.loop.name) {
		t.Errorf("%s is not in use", box.loop.name)
	}
	must(t, box.Close())
	must(t, box.Close())
	if s := stubborn.Status(); s.Signal != unix.SIGKILL || s.Ok() {
		t.Errorf("the stubborn one: %s", s)
	}
	if left := others(t); len(left) != 0 {
		t.Errorf("still there: %q", left)
	}
	if left := mounted(t, box.config.Dir); len(left) != 0 {
		t.Errorf("still mounted: %q", left)
	}
	if inUse(t, box.loop.name) {
		t.Errorf("%s is still in use", box.loop.name)
	}
	if _, err := os.Stat(box.config.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := p.Start(Command{Args: []string{"/bin/sh"}}); !errors.Is(err, ErrStart) {
		t.Errorf("a program in a closed toolbox: %v", err)
	}
}

// PID 1 heeds no signals, and its children do.
func TestSignals(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM)
	box := open(t, -1)
	for _, name := range []string{"TERM", "HUP", "INT", "PIPE"} {
		want := "killed by SIG" + name
		if out, status := box.Processes().sh(t, "kill -"+name+" $$; echo deaf"); status.String() != want {
			t.Errorf("%q, %s; want %s", out, status, want)
		}
		must(t, unix.Kill(1, unix.SignalNum("SIG"+name)))
	}
	must(t, box.Close())
}

// PID 1 takes care of orphans, and of nobody else's children.
func TestOrphans(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	box := open(t, -1)
	out, status := box.Processes().sh(t, "for i in 1 2 3 4 5 6 7 8; do (setsid sleep 0.1 &) ; done; sleep 0.2; exit 7")
	if status != (Status{Code: 7}) {
		t.Errorf("the shell: %q, %s", out, status)
	}
	gone := func() bool { return len(others(t)) == 0 }
	for until := time.Now().Add(10 * time.Second); !gone() && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	if !gone() {
		t.Errorf("zombies: %q", others(t))
	}
	must(t, box.Close())
}

// Each cause has its name, and leaves nothing behind.
func TestOpenErrors(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	good, err := os.ReadFile(toolboxtest.Image(t).Name())
	must(t, err)
	damaged := bytes.Clone(good)
	copy(damaged[64:96], bytes.Repeat([]byte{0xff}, 32)) // where the tables begin
	for name, test := range map[string]struct {
		image []byte
		free  int64
		want  error
	}{
		"empty":     {nil, -1, ErrImage},
		"ISO":       {make([]byte, 4096), -1, ErrImage},
		"cut":       {good[:len(good)-5000], -1, ErrImage},
		"damaged":   {damaged, -1, ErrImage},
		"no memory": {good, 2*minUpper - 1, ErrMemory},
	} {
		file := filepath.Join(t.TempDir(), "image")
		must(t, os.WriteFile(file, test.image, 0o600))
		f, err := os.Open(file)
		must(t, err)
		dir := filepath.Join(t.TempDir(), "box")
		_, err = Open(t.Context(), Config{Image: f, Dir: dir, Free: test.free, Log: t.Logf})
		f.Close()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the folder is left: %v", name, err)
		}
	}
}

// A kernel without loop devices is told by name.
func TestNoDriver(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	img := toolboxtest.Image(t)
	must(t, unix.Mount("tmpfs", "/dev", "tmpfs", 0, ""))
	must(t, os.WriteFile("/dev/null", nil, 0o666))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var asked []string
	_, err := Open(ctx, Config{Image: img, Dir: filepath.Join(t.TempDir(), "box"), Free: -1, Log: t.Logf,
		Need: func(names ...string) { asked = append(asked, names...) }})
	if !errors.Is(err, ErrDriver) || !slices.Equal(asked, []string{"loop", "squashfs", "overlay"}) {
		t.Errorf("%v, asked for %q", err, asked)
	}
}
