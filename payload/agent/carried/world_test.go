package carried

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/newc"
	"github.com/farboot/farboot/payload/object"
)

// What this program is, where it is no test: the variable that names the folder with
// an initramfs for a new PID 1.
const initramfs = "FARBOOT_TEST_INITRAMFS"

// TestMain makes of this program all that a machine runs: the agent as /init and as
// the server, and the system's own init.
func TestMain(m *testing.M) {
	if dir := os.Getenv(initramfs); dir != "" {
		fmt.Fprintln(os.Stderr, boot(dir))
		os.Exit(1)
	}
	switch {
	case os.Args[0] == carry.Name:
		s := new(server)
		s.join = func(context.Context) { s.client = fetch.New(chunks.FetchLimits()) }
		fmt.Fprintln(os.Stderr, s.serve())
		os.Exit(1)
	case os.Getpid() == 1 && Here():
		machine := &machine{log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
		fmt.Fprintln(os.Stderr, machine.run(os.Args))
		os.Exit(1)
	case os.Getpid() == 1:
		f := system
		if os.Args[0] == rootInit {
			f = rootSystem
		}
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, "system:", err)
			os.Exit(1)
		}
		fmt.Println("the system is content")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// boot is the kernel: it makes the folder the root file system and executes /init.
func boot(dir string) error {
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "") },
		func() error {
			f, err := os.Open(dir + ".cpio")
			if err != nil {
				return err
			}
			defer f.Close()
			return newc.Read(f, func(f newc.File) error { return unpackTo(dir, f) })
		},
		func() error { return os.Mkdir(dir+"/old", 0o700) },
		func() error { return unix.PivotRoot(dir, dir+"/old") },
		func() error { return unix.Chdir("/") },
		func() error { return unix.Unmount("/old", unix.MNT_DETACH) },
		func() error { return os.Remove("/old") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return unix.Exec("/init", []string{"/init", "words", "of the kernel"}, []string{"HOME=/"})
}

// unpackTo unpacks an entry below dir.
func unpackTo(dir string, f newc.File) error {
	name := filepath.Join(dir, f.Name)
	if f.Mode&0o170000 == newc.Dir {
		return os.Mkdir(name, 0o755)
	}
	data, err := io.ReadAll(f.Content)
	if err != nil {
		return err
	}
	if f.Mode&0o170000 == newc.Symlink {
		return os.Symlink(string(data), name)
	}
	return os.WriteFile(name, data, os.FileMode(f.Mode&0o777))
}

// system is a system's own init: it looks whether all is as its makers left it,
// removes the initramfs as switch_root does, and reads the device.
func system() error {
	if args := strings.Join(os.Args, "|"); args != "/init|words|of the kernel" || os.Getenv("HOME") != "/" {
		return fmt.Errorf("started as %s in %q", args, os.Environ())
	}
	for _, name := range []string{carry.Dir, "/proc/self", "/sys/class", "/dev/null"} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll("/new/dev", 0o755), unix.Mount("tmpfs", "/new", "tmpfs", 0, ""), os.Mkdir("/new/dev", 0o755), unix.Mount("devtmpfs", "/new/dev", "devtmpfs", 0, "")); err != nil {
		return err
	}
	server, err := serverPID()
	if err != nil {
		return err
	}
	data, err := os.ReadFile("/device")
	if err != nil {
		return err
	}
	node := "/new" + string(data)
	if err := unix.Unmount("/proc", 0); err != nil {
		return err
	}
	for _, e := range entries { // with all that the server was started from
		if err := os.RemoveAll("/" + e.Name()); err != nil {
			return err
		}
	}
	f, err := os.Open(node)
	if err != nil {
		return err
	}
	defer f.Close()
	// What is killed with all others when a machine is switched off lives on.
	if err := unix.Kill(server, unix.SIGTERM); err != nil {
		return err
	}
	n, err := io.Copy(os.Stdout, io.MultiReader(strings.NewReader("<"), f, strings.NewReader(">")))
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	return nil
}

// rootInit is the first program of a system whose root is the image.
const rootInit = "/sbin/init"

// rootSystem is that program: it looks whether the image is the root, and can be
// written to.
func rootSystem() error {
	if args := strings.Join(os.Args, "|"); args != rootInit+"|words|of the kernel" {
		return fmt.Errorf("started as %s", args)
	}
	if err := errors.Join(os.WriteFile("/data.new", []byte("x"), 0o600), os.Rename("/data.new", "/new"), os.Remove("/gone")); err != nil {
		return err
	}
	for _, name := range []string{"/proc/self", "/sys/class", "/dev/null"} {
		if _, err := os.Lstat(name); err != nil {
			return err
		}
	}
	f, err := os.Open("/data")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(os.Stdout, f)
	return err
}

// serverPID finds the server as systemd does that is to spare it.
func serverPID() (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		if line, err := os.ReadFile(name); err == nil && line[0] == '@' {
			return strconv.Atoi(filepath.Base(filepath.Dir(name)))
		}
	}
	return 0, errors.Join(err, fmt.Errorf("none of %q is the server", all))
}

// web is a site with an image.
type web struct {
	*httptest.Server
	image []byte
	index object.Ref
	away  atomic.Bool
	asked atomic.Int64
	bad   atomic.Int64 // an offset from which on bytes are wrong, 0 is none
}

// random returns n bytes.
func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(data)
	return data
}

// newWeb serves an image.
func newWeb(t *testing.T, image []byte) *web {
	t.Helper()
	w := &web{image: image}
	x, err := caibx.Make(bytes.NewReader(w.image), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	index, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.index = object.OfBytes(index)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		switch {
		case w.away.Load():
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/"+w.index.Path():
			rw.Write(index)
		case r.URL.Path == "/image":
			data := w.image
			if bad := w.bad.Load(); bad > 0 {
				data = append(bytes.Clone(data[:bad]), make([]byte, int64(len(data))-bad)...)
			}
			http.ServeContent(rw, r, "image", time.Time{}, bytes.NewReader(data))
		default:
			http.NotFound(rw, r)
		}
	}))
	t.Cleanup(w.Close)
	return w
}

// document is what the first kernel would have said.
func (w *web) document(device string) carry.Document {
	return carry.Document{
		Image: chunks.Image{Index: w.index, URLs: []string{w.URL + "/image"}}, Sites: []string{w.URL + "/"},
		Networks: []netconf.Network{{}}, Time: time.Now(), Door: carry.FUSE, Device: device,
	}
}

// freeLoop names a loop device that nobody uses.
func freeLoop(t *testing.T) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/loop%d", n)
	t.Cleanup(func() { // the server was killed with its machine, and has not let go of it
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
			unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
			f.Close()
		}
	})
	return name
}

// program returns this program as one file that needs no others.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "farboot-carried")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "test", "-c", "-o", dir+"/init", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(dir + "/init")
})

// machineOf returns the command that is a machine with this initramfs.
func machineOf(t *testing.T, d carry.Document, extra ...newc.File) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("namespaces need root")
	}
	document, err := carry.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	static, err := program()
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) newc.File {
		return newc.File{Name: name, Mode: newc.Regular | 0o755, Size: int64(len(data)), Content: bytes.NewReader(data)}
	}
	init := newc.File{}
	if d.Root == nil {
		init = file("x", static)
	}
	files := append(Layer(document, init, nil, nil, file("x", static)), file("device", []byte(d.Device)))
	dir := t.TempDir() + "/root"
	out, err := os.Create(dir + ".cpio")
	if err == nil {
		err = errors.Join(newc.Write(out, append(files, extra...)), out.Close(), os.Mkdir(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{initramfs + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	return cmd
}
