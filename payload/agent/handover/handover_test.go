package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// newMemory returns a Memory that the test closes.
func newMemory(t *testing.T) *Memory {
	t.Helper()
	m, err := NewMemory("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// add appends one object's bytes.
func add(t *testing.T, m *Memory, data string) io.WriterAt {
	t.Helper()
	w, err := m.Append(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte(data), 0); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestInitrdsArePadded(t *testing.T) {
	m := newMemory(t)
	for _, data := range []string{"abcde", "fghi", "", "j"} {
		add(t, m, data)
	}
	got, err := io.ReadAll(io.NewSectionReader(m.f, 0, 100))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("abcde\x00\x00\x00fghij", string(got)); diff != "" {
		t.Error(diff)
	}
	if m.Size() != int64(len(got)) {
		t.Errorf("Size = %d, the file has %d", m.Size(), len(got))
	}
}

func TestRegionIsBounded(t *testing.T) {
	m := newMemory(t)
	w := add(t, m, "12345678")
	add(t, m, "next")
	for _, off := range []int64{-1, 1, 8, 9, 1 << 62} {
		if _, err := w.WriteAt([]byte("overflow"), off); !errors.Is(err, errOutside) {
			t.Errorf("8 bytes at %d of 8: error %v, want %v", off, err, errOutside)
		}
	}
	for _, size := range []int64{-1, 1<<63 - 1} {
		if _, err := m.Append(size); err == nil {
			t.Errorf("Append(%d) made room", size)
		}
	}
}

// After Seal no way of changing the bytes is left: not by the region, the file,
// its name in /proc, a mapping, or by taking the seals off.
func TestSealHolds(t *testing.T) {
	m := newMemory(t)
	w := add(t, m, "verified")
	if m.sealed() {
		t.Error("sealed before Seal")
	}
	if err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	if !m.sealed() {
		t.Error("not sealed after Seal")
	}
	attacks := map[string]func() error{
		"region": func() error { _, err := w.WriteAt([]byte("evil"), 0); return err },
		"shrink": func() error { return m.f.Truncate(1) },
		"grow":   func() error { return m.f.Truncate(1 << 20) },
		"append": func() error { _, err := m.Append(4); return err },
		"seals":  func() error { _, err := unix.FcntlInt(m.f.Fd(), unix.F_ADD_SEALS, 0); return err },
		"map": func() error {
			_, err := unix.Mmap(int(m.f.Fd()), 0, 8, unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		},
		"reopened": func() error {
			f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", m.f.Fd()), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("evil"), 0)
			return err
		},
	}
	for name, attack := range attacks {
		if attack() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	got := make([]byte, 8)
	if _, err := m.f.ReadAt(got, 0); err != nil || string(got) != "verified" {
		t.Errorf("the memory reads %q (%v) after all that", got, err)
	}
}

// Load refuses memory that could still change, before any syscall.
func TestLoadWantsSeals(t *testing.T) {
	kernel, initrd := newMemory(t), newMemory(t)
	add(t, kernel, "not a kernel")
	if err := Load(Kernel{Image: kernel}, fstest.MapFS{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not sealed") {
		t.Errorf("unsealed kernel: %v", err)
	}
	if err := kernel.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := Load(Kernel{Image: kernel, Initrd: initrd}, fstest.MapFS{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not sealed") {
		t.Errorf("unsealed initrd: %v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		err    error
		locked bool
		want   string
	}{
		{unix.EPERM, true, "not signed by a key this machine trusts (Secure Boot is on)"},
		{unix.EKEYREJECTED, true, "not signed by a key this machine trusts (Secure Boot is on)"},
		{unix.ENODATA, true, "not signed by a key this machine trusts (Secure Boot is on)"},
		{unix.EKEYREJECTED, false, "signature is refused"},
		{unix.ENOEXEC, true, "no kernel that kexec can start"},
		{unix.ENOMEM, false, "not enough memory"},
		{unix.EADDRNOTAVAIL, false, "not enough memory"},
		{unix.EINVAL, false, "command line"},
		{unix.ENOSYS, false, "built without"},
		{unix.EBUSY, false, "cannot be loaded: device or resource busy"},
	} {
		err := explain(tc.err, tc.locked)
		if !errors.Is(err, ErrRefused) || !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("explain(%v, %t) = %q, want %q in it", tc.err, tc.locked, err, tc.want)
		}
	}
}

func TestLocked(t *testing.T) {
	for mode, want := range map[string]bool{
		"none [integrity] confidentiality\n": true,
		"none integrity [confidentiality]\n": true,
		"[none] integrity confidentiality\n": false,
		"":                                   false,
	} {
		if got := Locked(fstest.MapFS{lockdownFile: {Data: []byte(mode)}}); got != want {
			t.Errorf("locked with %q = %t, want %t", mode, got, want)
		}
	}
	if Locked(fstest.MapFS{}) {
		t.Error("locked without securityfs")
	}
}
