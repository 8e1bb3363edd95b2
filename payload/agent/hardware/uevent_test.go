package hardware

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// quiet announces nothing.
func quiet(context.Context, func(string, ...any)) (<-chan struct{}, error) { return nil, nil }

// What is plugged in is looked at when the kernel announces it, and where it
// announces nothing, soon after.
func TestPluggedIn(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		within time.Duration
	}{"announced": {nil, 0}, "deaf": {errors.New("no socket"), rescanDeaf}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				devices := fstest.MapFS{}
				l := NewLoader(devices, modulesDir(t), log.log)
				inserted := 0
				l.insert = func(string) error { inserted++; return nil }
				announced := make(chan struct{}, 1)
				l.news = func(context.Context, func(string, ...any)) (<-chan struct{}, error) { return announced, c.err }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go l.Run(ctx)
				l.Wait(ctx, time.Second)
				devices["bus/pci/devices/0/modalias"] = &fstest.MapFile{Data: []byte(virtioPCI)}
				if c.err == nil {
					announced <- struct{}{}
				}
				time.Sleep(c.within)
				synctest.Wait()
				if inserted == 0 {
					t.Errorf("nothing was loaded within %v", c.within)
				}
			})
		})
	}
}

// Only new devices are news, however many come at once, and the end of the socket
// is the end.
func TestListen(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel, us := os.NewFile(uintptr(pair[0]), "kernel"), os.NewFile(uintptr(pair[1]), "us")
	defer kernel.Close()
	news, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- listen(us, news) }()
	for _, m := range []string{"remove@/devices/pci0/usb1", "add@/module/usb_storage", "change@/devices/pci0/block/sda", ""} {
		if announces([]byte(m)) {
			t.Errorf("%q is news", m)
		}
	}
	for range 3 {
		if _, err := kernel.WriteString("add@/devices/pci0/usb1\x00ACTION=add\x00MODALIAS=usb:v1\x00"); err != nil {
			t.Fatal(err)
		}
	}
	<-news
	us.Close()
	if err := <-ended; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ended by %v", err)
	}
}

// The kernel has such a socket, and it ends with its context.
func TestNews(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := news(ctx, t.Logf)
	cancel()
	if err != nil || c == nil {
		t.Errorf("%v, %v", c, err)
	}
}
