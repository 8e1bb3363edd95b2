package flash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/farboot/farboot/payload/flash/expand"
)

// job writes an image that these servers have.
func job(t testing.TB, image []byte, format string, files ...[]byte) Job {
	if files == nil {
		files = [][]byte{pack(t, image, format)}
	}
	return Job{Index: index(t, image), Format: format, Source: &servers{files: files}}
}

// wantDisk wants a medium to hold the image and nothing else of what is new.
func wantDisk(t *testing.T, m *medium, old, image []byte) {
	t.Helper()
	if at := differ(m.data, finished(t, old, image)); at >= 0 {
		t.Errorf("the disk differs at byte %d", at)
	}
}

func TestRun(t *testing.T) {
	image := newImage(t, 1)
	for _, format := range expand.Formats() {
		t.Run("format "+format, func(t *testing.T) {
			m := newMedium(t)
			old := bytes.Clone(m.data)
			j := job(t, image, format)
			var stages []string
			j.Progress = func(p Progress) {
				if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
					stages = append(stages, p.Stage)
				}
				if p.Done > p.Total && p.Total > 0 {
					t.Errorf("progress %+v", p)
				}
			}
			result, err := Run(t.Context(), m, j)
			if err != nil {
				t.Fatal(err)
			}
			wantDisk(t, m, old, image)
			if result.Already != "" || result.Written != imageSize || result.Kept != 0 {
				t.Errorf("result %+v", result)
			}
			if want := []string{"download", "write", "verify", "finish"}; !slices.Equal(stages, want) {
				t.Errorf("stages %q, want %q", stages, want)
			}
			name := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(name, m.data[:imageSize], 0o600); err != nil {
				t.Fatal(err)
			}
			if out := tool(t, "sgdisk", "--verify", name); !bytes.Contains(out, []byte("No problems found")) {
				t.Errorf("sgdisk: %s", out)
			}
		})
	}
}

// TestPowerCut cuts the power after every write, and lets the disk have any of the
// writes since its last Sync, whole or in part. What it holds then is the old
// system, untouched, or nothing that boots, or the image; and a second run leads to
// the image.
func TestPowerCut(t *testing.T) {
	image := newImage(t, 1)
	j := job(t, image, "zst")
	t.Run("in order", func(t *testing.T) { powerCut(t, image, j) })
	j.Receive = receive(image, j.Index, nil)
	t.Run("in any order", func(t *testing.T) { powerCut(t, image, j) })
}

// powerCut is TestPowerCut of one job.
func powerCut(t *testing.T, image []byte, j Job) {
	m := newMedium(t)
	old := bytes.Clone(m.data)
	if _, err := Run(t.Context(), m, j); err != nil {
		t.Fatal(err)
	}
	want := finished(t, old, image)
	var states [3]int
	try := func(what string, data []byte, again bool) {
		t.Helper()
		switch {
		case bytes.Equal(data[:512], make([]byte, 512)):
			states[0]++
		case bytes.Equal(data, old):
			states[1]++
		case bytes.Equal(data, want):
			states[2]++
		default:
			t.Errorf("%s: the disk looks like a system and is none, see byte %d", what, differ(data, want))
		}
		if again {
			next := &medium{t: t, data: data}
			j.Source = &servers{files: j.Source.(*servers).files}
			if _, err := Run(t.Context(), next, j); err != nil {
				t.Errorf("%s: second run: %v", what, err)
			} else if at := differ(data, want); at >= 0 {
				t.Errorf("%s: second run: the disk differs at byte %d", what, at)
			}
		}
	}
	stable, since := bytes.Clone(old), []change(nil)
	random := newRandom()
	for i, c := range m.log {
		if c.data == nil {
			for _, s := range since {
				copy(stable[s.at:], s.data)
			}
			since = nil
			try(fmt.Sprintf("sync %d", i), bytes.Clone(stable), true)
			continue
		}
		since = append(since, c)
		for way := range 3 {
			data := bytes.Clone(stable)
			for _, s := range since {
				// A sector is written or it is not; nothing else is certain.
				for at := 0; at < len(s.data); at += 512 {
					if random.IntN(4) >= way {
						copy(data[int(s.at)+at:], s.data[at:at+512])
					}
				}
			}
			try(fmt.Sprintf("write %d at %d", i, c.at), data, random.IntN(8) == 0)
		}
	}
	if states[0] < 100 || states[1] == 0 || states[2] == 0 {
		t.Errorf("not written, old and whole disks: %d", states)
	}
}

// TestKnownAgain wants a disk that is done to be left alone, whatever its system
// has made of it since, and another image to be written.
func TestKnownAgain(t *testing.T) {
	image, next := newImage(t, 1), newImage(t, 2)
	same := bytes.Clone(image) // of the same disk ID
	same[5<<20] ^= 1
	flashed := newMedium(t)
	if _, err := Run(t.Context(), flashed, job(t, image, "")); err != nil {
		t.Fatal(err)
	}
	const mark = 1<<20 - 512
	for _, test := range []struct {
		name    string
		image   []byte
		change  func(disk []byte)
		again   bool
		written bool
	}{
		{name: "untouched", image: image},
		{name: "in use", image: image, change: func(d []byte) { copy(d[1<<20:], noise(7, 4<<20)) }},
		{name: "partitioned anew", image: image, change: func(d []byte) { copy(d, newImage(t, 3)[:17408]) }},
		{name: "without its mark", image: image, change: func(d []byte) { clear(d[mark:][:512]) }},
		{name: "partitioned anew, without its mark", image: image, written: true, change: func(d []byte) { copy(d, newImage(t, 3)[:1<<20]) }},
		{name: "another image", image: next, written: true},
		{name: "another image with the same ID", image: same, written: true},
		{name: "another image with the same ID, without its mark", image: same, change: func(d []byte) { clear(d[mark:][:512]) }},
		{name: "again", image: image, again: true, written: true},
		{name: "a mark that is damaged", image: image, change: func(d []byte) { d[mark+40] ^= 1 }},
		{name: "a mark at another place", image: image, written: true, change: func(d []byte) {
			copy(d, newImage(t, 3)[:17408])
			copy(d[mark-512:], d[mark:][:512])
			clear(d[mark:][:512])
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &medium{t: t, data: bytes.Clone(flashed.data)}
			if test.change != nil {
				test.change(m.data)
			}
			old := bytes.Clone(m.data)
			j := job(t, test.image, "")
			j.Again = test.again
			result, err := Run(t.Context(), m, j)
			if err != nil {
				t.Fatal(err)
			}
			if !test.written {
				if result.Already == "" || len(m.log) > 0 {
					t.Errorf("%+v after %d writes; want it left alone", result, len(m.log))
				}
				return
			}
			wantDisk(t, m, old, test.image)
			if test.again && (result.Kept < imageSize/2 || m.written() > 5<<20) {
				t.Errorf("%+v, %d bytes were written; want what is there to be kept", result, m.written())
			}
		})
	}
}

// TestResume takes the network away in the middle, and wants a second run to fetch
// and write only what lacks.
func TestResume(t *testing.T) {
	image := newImage(t, 1)
	m := newMedium(t)
	old := bytes.Clone(m.data)
	gone := errors.New("nobody answers")
	j := job(t, image, "", image[:5<<20+1000])
	j.Source.(*servers).err = gone
	if _, err := Run(t.Context(), m, j); !errors.Is(err, gone) {
		t.Fatalf("Run = %v; want the source's error", err)
	}
	m.log = nil
	j.Source = &servers{files: [][]byte{image}}
	result, err := Run(t.Context(), m, j)
	if err != nil {
		t.Fatal(err)
	}
	wantDisk(t, m, old, image)
	if opened := j.Source.(*servers).opened; len(opened) != 2 || opened[1] < 4<<20 {
		t.Errorf("the file was opened at %d; want its head and what lacks", opened)
	}
	if result.Kept < 3<<20 || m.written() > 6<<20 {
		t.Errorf("%+v, %d bytes were written", result, m.written())
	}
}

// TestWrongBytes lets mirrors lie. No byte of a wrong chunk may reach the disk.
func TestWrongBytes(t *testing.T) {
	image := newImage(t, 1)
	another := newImage(t, 4)
	flip := func(file []byte, at int) []byte {
		file = bytes.Clone(file)
		file[at] ^= 0x10
		return file
	}
	for _, format := range expand.Formats() {
		good, other := pack(t, image, format), pack(t, another, format)
		for name, bad := range map[string][]byte{
			"first byte":  flip(good, 0),
			"head":        flip(good, len(good)/7),
			"middle":      flip(good, len(good)/2),
			"late":        flip(good, len(good)*9/10),
			"cut":         good[:len(good)*2/3],
			"cut by one":  good[:len(good)-1],
			"empty":       nil,
			"other image": other,
			"more behind": slices.Concat(good, []byte("something that is not of the image")),
		} {
			t.Run(format+" "+name, func(t *testing.T) {
				m := newMedium(t)
				old := bytes.Clone(m.data)
				if _, err := Run(t.Context(), m, job(t, image, format, bad, good)); err != nil {
					t.Errorf("with a good mirror: %v", err)
				}
				wantDisk(t, m, old, image)
				m = &medium{t: t, data: bytes.Clone(old)}
				_, err := Run(t.Context(), m, job(t, image, format, bad, bad))
				if err == nil && (name == "more behind" || name == "cut by one") {
					wantDisk(t, m, old, image) // each chunk of the image was there, and right
					return
				}
				if !errors.Is(err, ErrWrong) {
					t.Errorf("without one: %v; want ErrWrong", err)
				}
				for _, c := range m.log {
					body := c.at >= 1<<20 && c.at < imageSize
					if body && !bytes.Equal(c.data, image[c.at:c.at+int64(len(c.data))]) {
						t.Errorf("wrong bytes were written at %d", c.at)
					}
				}
				if len(m.log) > 0 && !bytes.Equal(m.data[:512], make([]byte, 512)) {
					t.Error("the disk looks like a system")
				}
			})
		}
	}
}

// TestBomb gives a stream without end in the place of the image.
func TestBomb(t *testing.T) {
	image := newImage(t, 1)
	for format, name := range map[string]string{"xz": "xz", "zst": "zstd", "gz": "gzip"} {
		endless := tool(t, "sh", "-c", "head -c 300000000 /dev/zero | "+name+" -1 -c")
		m := newMedium(t)
		if _, err := Run(t.Context(), m, job(t, image, format, endless)); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v; want ErrWrong", format, err)
		}
		if len(m.log) > 0 {
			t.Errorf("%s: the disk was touched", format)
		}
	}
}
