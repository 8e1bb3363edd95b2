package table

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sgdisk runs the oracle on the file of a disk.
func sgdisk(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sgdisk", append(args, name)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %q: %v\n%s\n(Debian package gdisk)", args, err, out)
	}
	return string(out)
}

// newDisk makes the file of a disk with partitions.
func newDisk(t testing.TB, size int64, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	sgdisk(t, name, append([]string{"--clear", "--disk-guid=01234567-89AB-CDEF-0123-456789ABCDEF"}, args...)...)
	return name
}

// head returns the first MiB of a file.
func head(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data[:Head]
}

func TestGPT(t *testing.T) {
	name := newDisk(t, 64<<20, "--new=1:2048:+4M", "--new=5:40000:50000", "--new=2:20480:+1M")
	table, err := Parse(head(t, name), 512)
	if err != nil {
		t.Fatal(err)
	}
	want := []Partition{{1, 1 << 20, 4 << 20}, {2, 10 << 20, 1 << 20}, {5, 38912 * 512, (50000 - 38912 + 1) * 512}} // sgdisk aligns
	if diff := cmp.Diff(want, table.Partitions); diff != "" {
		t.Error(diff)
	}
	if table.ID != "67452301ab89efcd0123456789abcdef" {
		t.Errorf("ID %s", table.ID)
	}
	if start, end := table.Gap(); start != 34*512 || end != 1<<20 {
		t.Errorf("Gap() = %d, %d", start, end)
	}
	if _, err := table.Partition(3); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), "(1, 2, 5)") {
		t.Errorf("Partition(3): %v", err)
	}
}

// TestGrow moves tables to disks of many sizes. sgdisk finds nothing wrong with
// any, and sees the last partition end where the disk does.
func TestGrow(t *testing.T) {
	const old = 32 << 20
	for _, size := range []int64{old, old + 512, old + 1<<20, 64<<20 - 512, 64 << 20, 1 << 30, 3 << 40} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			name := newDisk(t, old, "--new=1:2048:+4M", "--new=3:20480:0", "--new=2:16384:+1M")
			first := head(t, name)
			table, err := Parse(first, 512)
			if err != nil {
				t.Fatal(err)
			}
			before, _ := table.Partition(3)
			grown, err := table.Grow(size)
			if err != nil {
				t.Fatal(err)
			}
			end := (size/512 - 33) * 512 / align * align
			if want := max(end, before.End()); grown.Number != 3 || grown.Start != before.Start || grown.End() != want {
				t.Errorf("grown to %+v, want an end at %d", grown, want)
			}
			table.Write(first)
			at, backup := table.Backup()
			if at+int64(len(backup)) != size {
				t.Errorf("the backup ends at %d", at+int64(len(backup)))
			}
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, werr := f.WriteAt(first, 0)
			_, berr := f.WriteAt(backup, at)
			if err := errors.Join(f.Truncate(size), werr, berr); err != nil {
				t.Fatal(err)
			}
			if out := sgdisk(t, name, "--verify"); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk: %s", out)
			}
			if out, want := sgdisk(t, name, "--info=3"), fmt.Sprintf("Last sector: %d ", grown.End()/512-1); !strings.Contains(out, want) {
				t.Errorf("sgdisk sees no %q: %s", want, out)
			}
		})
	}
}

// mbr returns the first MiB of a disk with an MBR.
func mbr(entries ...[4]uint32) []byte {
	data := make([]byte, Head)
	copy(data[440:], "\x78\x56\x34\x12")
	copy(data[510:], "\x55\xaa")
	for i, e := range entries { // number, type, start, count
		at := data[446+16*i:]
		at[4] = byte(e[1])
		le.PutUint32(at[8:], e[2])
		le.PutUint32(at[12:], e[3])
	}
	return data
}

func TestMBR(t *testing.T) {
	data := mbr([4]uint32{1, 0x0c, 8192, 1000}, [4]uint32{2, 0x83, 16384, 2048})
	table, err := Parse(data, 512)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Partition{{1, 8192 * 512, 512000}, {2, 16384 * 512, 1 << 20}}; !cmp.Equal(want, table.Partitions) || table.ID != "12345678" {
		t.Errorf("%+v", table)
	}
	if start, end := table.Gap(); start != 512 || end != Head {
		t.Errorf("Gap() = %d, %d", start, end)
	}
	if grown, err := table.Grow(100 << 20); err != nil || grown != (Partition{2, 8 << 20, 92 << 20}) {
		t.Errorf("Grow = %v, %v", grown, err)
	}
	table.Write(data)
	again, err := Parse(data, 512)
	if err != nil || again.Partitions[1].Size != 92<<20 {
		t.Errorf("written and read: %+v, %v", again, err)
	}
	if at, backup := table.Backup(); at != 0 || backup != nil {
		t.Error("an MBR has a backup")
	}
	if grown, err := table.Grow(3 << 40); err != nil || grown.End() > (1<<32-1)*512 {
		t.Errorf("beyond 32 bits: %v, %v", grown, err)
	}
	if table, err = Parse(mbr([4]uint32{1, 0x05, 8192, 1000}), 512); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Grow(1 << 30); !errors.Is(err, ErrTable) {
		t.Errorf("an extended partition grows: %v", err)
	}
	if table, err = Parse(mbr(), 512); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Grow(1 << 30); !errors.Is(err, ErrTable) {
		t.Errorf("no partition grows: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	name := newDisk(t, 64<<20, "--new=1:2048:+4M")
	good := head(t, name)
	change := func(at int, b byte) []byte {
		data := bytes.Clone(good)
		data[at] ^= b
		return data
	}
	for name, data := range map[string][]byte{
		"empty": nil, "no signature": change(510, 1), "no GPT": change(512, 1), "header": change(512+40, 1),
		"entry": change(1024, 1), "cut": good[:1024], "huge header": change(512+12+3, 0x40),
	} {
		if table, err := Parse(data, 512); !errors.Is(err, ErrTable) || table != nil {
			t.Errorf("%s: %v, %v", name, table, err)
		}
	}
	if _, err := Parse(good, 4096); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), "made for sectors of 512") {
		t.Errorf("other sectors: %v", err)
	}
	if _, err := Parse(good, 1024); !errors.Is(err, ErrTable) {
		t.Errorf("odd sectors: %v", err)
	}
	table, err := Parse(good, 512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Grow(4 << 20); !errors.Is(err, ErrTable) {
		t.Errorf("a disk that is too small: %v", err)
	}
}

// FuzzParse wants what is read to be written as it was, and to grow without a panic.
func FuzzParse(f *testing.F) {
	f.Add(head(f, newDisk(f, 64<<20, "--new=1:2048:+4M"))[:20000], int64(1<<30))
	f.Add(mbr([4]uint32{1, 0x0c, 8192, 1000})[:1000], int64(1<<31))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		if size < 4<<20 || size > 1<<50 {
			return
		}
		table, err := Parse(data, 512)
		if err != nil {
			return
		}
		same := bytes.Clone(data)
		table.Write(same)
		if !bytes.Equal(same, data) {
			t.Error("written otherwise than read")
		}
		grown, err := table.Grow(size)
		if err != nil {
			return
		}
		if grown.End() > size {
			t.Errorf("%+v is not on a disk of %d bytes", grown, size)
		}
		table.Write(same)
		if at, backup := table.Backup(); backup != nil && at+int64(len(backup)) != size/512*512 {
			t.Errorf("backup of %d bytes at %d", len(backup), at)
		}
		if _, err := Parse(same, 512); err != nil {
			t.Errorf("grown: %v", err)
		}
	})
}
