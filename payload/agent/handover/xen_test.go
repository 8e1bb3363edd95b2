package handover

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/farboot/farboot/payload/xen"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sealedMemory returns one with that content.
func sealedMemory(t *testing.T, data string) *Memory {
	t.Helper()
	m := newMemory(t)
	add(t, m, data)
	if err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	return m
}

// someXen is complete, but for a hypervisor that is one.
func someXen(t *testing.T) Xen {
	return Xen{
		Hypervisor: sealedMemory(t, "no hypervisor"), Kernel: sealedMemory(t, "kernel"), Initrd: sealedMemory(t, "initrd"), Cmdline: "quiet",
		Modules: []XenModule{{sealedMemory(t, "first"), "a b"}, {sealedMemory(t, "second"), ""}},
	}
}

// TestLoadXenRefuses: what cannot be is refused before any syscall, and by name.
func TestLoadXenRefuses(t *testing.T) {
	ram := fstest.MapFS{}
	for name, text := range map[string]string{"start": "0x0", "end": "0x7fffffff", "type": "System RAM"} {
		ram["firmware/memmap/0/"+name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	locked := fstest.MapFS{lockdownFile: {Data: []byte("none [integrity] confidentiality\n")}}
	x := someXen(t)
	for name, tc := range map[string]struct {
		sysfs fstest.MapFS
		want  error
	}{
		"lockdown":      {locked, ErrLocked},
		"no memory map": {fstest.MapFS{}, xen.ErrMap},
		"no hypervisor": {ram, xen.ErrHeader},
	} {
		if err := LoadXen(x, tc.sysfs); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	for i := range x.memories() {
		x := someXen(t)
		unsealed := newMemory(t)
		add(t, unsealed, "changes")
		*x.memories()[i] = *unsealed
		if err := LoadXen(x, locked); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not sealed") {
			t.Errorf("unsealed memory %d: %v", i, err)
		}
	}
	var said []string
	if err := LoadXenTwice(x, locked, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }); !errors.Is(err, ErrLocked) || said != nil {
		t.Errorf("under lockdown: %v, and said %q", err, said)
	}
}

// TestXenModules: dom0's kernel comes first, its initrd second.
func TestXenModules(t *testing.T) {
	x := someXen(t)
	want := []xen.Module{{Name: "vmlinuz", Args: "quiet", Size: 6}, {Name: "initrd", Size: 6}, {Name: "module1", Args: "a b", Size: 5}, {Name: "module2", Size: 6}}
	if diff := cmp.Diff(want, x.modules()); diff != "" || x.Size() != int64(len("no hypervisor"))+23 {
		t.Errorf("%d bytes, modules %s", x.Size(), diff)
	}
	x.Initrd = nil
	if got := x.modules(); len(got) != 3 || len(x.memories()) != 4 {
		t.Errorf("without an initrd %+v", got)
	}
	x.Kernel = nil // as after a failed download
	x.Close()
	if _, err := x.Hypervisor.f.Stat(); err == nil {
		t.Error("the memory is still there")
	}
}

// TestMapped: sealed memory is read in place.
func TestMapped(t *testing.T) {
	m := sealedMemory(t, "verified")
	data, unmap, err := m.mapped()
	if err != nil || string(data) != "verified" {
		t.Fatalf("%q, %v", data, err)
	}
	unmap()
	if _, _, err := newMemory(t).mapped(); err == nil {
		t.Error("empty memory is mapped")
	}
}

// TestExplainXen: the codes of kexec_load(2) in words. That it is not let, here or
// to this user, is an error as well and not a loaded kernel.
func TestExplainXen(t *testing.T) {
	for code, want := range map[error]string{
		unix.EPERM: "not signed", unix.ENOMEM: "not enough memory", unix.EADDRNOTAVAIL: "not enough memory",
		unix.EINVAL: "half of the memory", unix.ENOSYS: "without kexec_load", unix.EBUSY: "Xen cannot be loaded",
	} {
		if err := explainXen(code); !errors.Is(err, ErrRefused) || !errors.Is(err, code) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", code, err)
		}
	}
	nowhere := &xen.Plan{Segments: []xen.Segment{{Name: "askew", Addr: 1, Size: 4096, Data: []byte{0}}}, Entry: 1}
	if err := kexecLoad(nowhere, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a plan that Linux cannot take: %v", err)
	}
}
