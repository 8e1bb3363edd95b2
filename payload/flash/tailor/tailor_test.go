package tailor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/table"
)

// tool runs a program of other people.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s\n(Debian packages e2fsprogs, xfsprogs and btrfs-progs)", name, args, err, out)
	}
	return string(out)
}

const (
	start = 1 << 20
	small = 300 << 20 // XFS wants as much
	large = 600 << 20
)

// kinds are the file systems and how they are made and checked.
var kinds = map[string]struct{ make, check []string }{
	"ext4":  {[]string{"mkfs.ext4", "-q"}, []string{"e2fsck", "-f", "-n"}},
	"ext2":  {[]string{"mkfs.ext2", "-q"}, []string{"e2fsck", "-f", "-n"}},
	"xfs":   {[]string{"mkfs.xfs", "-q"}, []string{"xfs_repair", "-n"}},
	"btrfs": {[]string{"mkfs.btrfs", "-q"}, []string{"btrfs", "check"}},
}

// newDisk makes a disk of large bytes whose first partition holds a file system of
// small bytes, but no table. It returns the loop device and the file.
func newDisk(t *testing.T, kind string) (node, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems; it must be run by root")
	}
	dir := t.TempDir()
	part, file := filepath.Join(dir, "part"), filepath.Join(dir, "disk")
	tool(t, "truncate", "--size", fmt.Sprint(small), part)
	if kind != "" {
		make := kinds[kind].make
		tool(t, make[0], append(make[1:], part)...)
	}
	tool(t, "truncate", "--size", fmt.Sprint(start+large+1<<20), file)
	tool(t, "dd", "if="+part, "of="+file, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	return attach(t, file), file
}

// attach shows a file as a disk that may have partitions.
func attach(t *testing.T, file string) string {
	t.Helper()
	node := strings.TrimSpace(tool(t, "losetup", "--find", "--show", "--partscan", file))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", node).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
		_ = os.Remove(node + "p1") // made by hand where /dev is not the kernel's
	})
	return node
}

// newJob returns a job for partition 1, which is grown to large.
func newJob(t *testing.T, node string) Job {
	p := table.Partition{Number: 1, Start: start, Size: large}
	return Job{
		Node: node, Log: t.Logf,
		Partition: func(n int) (table.Partition, error) {
			if n != 1 {
				return table.Partition{}, table.ErrTable
			}
			return p, nil
		},
	}
}

// inspect mounts partition 1 once more and calls f.
func inspect(t *testing.T, job Job, f func(dir string)) {
	t.Helper()
	if err := job.with(1, func(m mounted) error {
		f(m.dir)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// check lets the file system's own program look for mistakes.
func check(t *testing.T, kind, file string) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	tool(t, "dd", "if="+file, "of="+part, "bs=1M", "skip=1", fmt.Sprintf("count=%d", large>>20), "conv=sparse", "status=none")
	tool(t, kinds[kind].check[0], append(kinds[kind].check[1:], part)...)
}

// mayResize tells whether the kernel lets us grow an ext4: containers often must
// not.
func mayResize(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func TestGrow(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			node, file := newDisk(t, kind)
			job := newJob(t, node)
			p, _ := job.Partition(1)
			job.Grow = &p
			err := Do(t.Context(), job)
			if strings.HasPrefix(kind, "ext") && !mayResize(t) {
				if !errors.Is(err, ErrGrow) || !errors.Is(err, unix.EPERM) {
					t.Errorf("Do without CAP_SYS_RESOURCE = %v; want EPERM", err)
				}
				return // builder/boottest grows one in a machine of its own
			}
			if err != nil {
				t.Fatal(err)
			}
			inspect(t, job, func(dir string) {
				var st unix.Statfs_t
				if err := unix.Statfs(dir, &st); err != nil {
					t.Fatal(err)
				}
				if size := int64(st.Blocks) * st.Bsize; size < large*8/10 {
					t.Errorf("it has %d bytes of %d", size, large)
				}
			})
			check(t, kind, file)
			if err := Do(t.Context(), job); err != nil {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			node, file := newDisk(t, kind)
			job := newJob(t, node)
			big := bytes.Repeat([]byte("a large file\n"), 100000)
			job.Files = []File{
				{Partition: 1, Path: "/hostname", Content: strings.NewReader("old\n")},
				{Partition: 1, Path: "/hostname", Content: strings.NewReader("blade7\n")},
				{Partition: 1, Path: "/etc/ssh/host_key", Mode: 0o600, Content: strings.NewReader("secret")},
				{Partition: 1, Path: "/var/lib/cloud/seed/nocloud/user-data", Mode: 0o640, Content: bytes.NewReader(big)},
			}
			if err := Do(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			inspect(t, job, func(dir string) {
				for name, want := range map[string]string{"hostname": "blade7\n", "etc/ssh/host_key": "secret", "var/lib/cloud/seed/nocloud/user-data": string(big)} {
					if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
						t.Errorf("%s: %d bytes, %v", name, len(got), err)
					}
				}
				for name, want := range map[string]os.FileMode{"hostname": 0o644, "etc/ssh/host_key": 0o600, "etc": 0o755} {
					info, err := os.Stat(filepath.Join(dir, name))
					if err != nil || info.Mode().Perm() != want {
						t.Errorf("%s: %v, %v; want %o", name, info, err, want)
					}
				}
			})
			check(t, kind, file)
		})
	}
}

// TestEscape puts links into the image that lead out of it, to a file of the test's.
func TestEscape(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	sentinel := filepath.Join(outside, "sentinel")
	if err := os.WriteFile(sentinel, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	node, _ := newDisk(t, "ext4")
	job := newJob(t, node)
	inspect(t, job, func(dir string) {
		up := strings.Repeat("../", 20)
		for name, to := range map[string]string{
			"absolute": outside, "relative": up + outside, "file": sentinel, "benign": "real", "chain": "absolute",
		} {
			if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
			t.Fatal(err)
		}
	})
	for _, path := range []string{
		"/absolute/sentinel", "/relative/sentinel", "/chain/sentinel", "/absolute/new/file",
		"/../sentinel", "//x", "/x/", "/", "relative", "/a/./b", "/a/../b", "",
	} {
		job.Files = []File{{Partition: 1, Path: path, Content: strings.NewReader("evil")}}
		if err := Do(t.Context(), job); !errors.Is(err, ErrFiles) {
			t.Errorf("%q: %v; want ErrFiles", path, err)
		}
	}
	job.Files = []File{
		{Partition: 1, Path: "/file", Content: strings.NewReader("in its place")},
		{Partition: 1, Path: "/benign/file", Content: strings.NewReader("within")},
	}
	if err := Do(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	inspect(t, job, func(dir string) {
		if got, err := os.ReadFile(filepath.Join(dir, "real/file")); err != nil || string(got) != "within" {
			t.Errorf("through a link within: %q, %v", got, err)
		}
	})
	entries, err := os.ReadDir(outside)
	got, rerr := os.ReadFile(sentinel)
	if err != nil || rerr != nil || len(entries) != 1 || string(got) != "untouched" {
		t.Errorf("outside: %v, %q", entries, got)
	}
}

// endless is a file without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestErrors(t *testing.T) {
	node, _ := newDisk(t, "ext4")
	job := newJob(t, node)
	job.Files = []File{{Partition: 1, Path: "/big", Content: endless{}}}
	if err := Do(t.Context(), job); !errors.Is(err, ErrFiles) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a file system that is full: %v", err)
	}
	job.Files = []File{{Partition: 2, Path: "/x", Content: strings.NewReader("")}}
	if err := Do(t.Context(), job); !errors.Is(err, ErrFiles) || !errors.Is(err, table.ErrTable) {
		t.Errorf("no such partition: %v", err)
	}
	job.Files = nil
	p, _ := job.Partition(1)
	job.Grow = &p
	job.Drivers = func(names ...string) error { return fmt.Errorf("no %q here", names) }
	if err := Do(t.Context(), job); !errors.Is(err, ErrGrow) || !strings.Contains(err.Error(), `no ["ext4"] here`) {
		t.Errorf("no driver: %v", err)
	}
	fat, file := newDisk(t, "")
	tool(t, "mkfs.fat", "-F32", "--offset=2048", file)
	job = newJob(t, fat)
	job.Grow = &p
	job.Drivers = func(names ...string) error { return fmt.Errorf("no %q here", names) } // nor in every test's kernel
	if err := Do(t.Context(), job); !errors.Is(err, ErrGrow) || !strings.Contains(err.Error(), `no ["nls_cp437" "nls_ascii" "vfat"] here`) {
		t.Errorf("FAT: %v", err)
	}
	empty, _ := newDisk(t, "")
	job = newJob(t, empty)
	job.Grow = &p
	if err := Do(t.Context(), job); !errors.Is(err, ErrGrow) || !strings.Contains(err.Error(), "none of ext2") {
		t.Errorf("no file system: %v", err)
	}
}
