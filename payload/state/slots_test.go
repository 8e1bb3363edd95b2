package state

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// disk is a Device in memory. After cut bytes a write ends as if the power had
// gone, unless cut is negative.
type disk struct {
	data   []byte
	cut    int
	writes int
	// flip is the byte that goes wrong on the way to the disk, if not 0.
	flip byte
	sync error
}

var errPower = errors.New("power is gone")

func newDisk() *disk { return &disk{data: make([]byte, DeviceSize), cut: -1} }

func (d *disk) ReadAt(p []byte, at int64) (int, error) {
	if at >= int64(len(d.data)) {
		return 0, io.EOF
	}
	n := copy(p, d.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(p []byte, at int64) (int, error) {
	d.writes++
	if d.cut >= 0 && d.cut < len(p) {
		return copy(d.data[at:], p[:d.cut]), errPower
	}
	n := copy(d.data[at:], p)
	d.data[at] ^= d.flip
	return n, nil
}

func (d *disk) Sync() error { return d.sync }

// saved returns a disk on which these versions were saved, one after the other.
func saved(t testing.TB, versions ...int64) *disk {
	t.Helper()
	d := newDisk()
	for _, v := range versions {
		if err := Save(d, sample(v)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// load returns the version on r, 0 where there is no state.
func load(t testing.TB, r io.ReaderAt) int64 {
	t.Helper()
	s, err := Load(r)
	if err == nil {
		return s.Floor.Version
	}
	if !errors.Is(err, ErrNone) && !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	return 0
}

func TestSaveAndLoad(t *testing.T) {
	if _, err := Load(newDisk()); !errors.Is(err, ErrNone) {
		t.Errorf("Load of nothing = %v", err)
	}
	d := newDisk()
	for v := int64(1); v < 20; v++ {
		if err := Save(d, sample(v)); err != nil {
			t.Fatal(err)
		}
		if s, err := Load(d); err != nil || !s.Equal(sample(v)) {
			t.Fatalf("Load = %+v, %v; want version %d", s, err, v)
		}
	}
	if err := Save(d, sample(19)); err != nil || d.writes != 19 {
		t.Errorf("saving the same again: %v, %d writes", err, d.writes)
	}
	if err := Save(d, sample(18)); !errors.Is(err, ErrLower) || d.writes != 19 {
		t.Errorf("saving something lower: %v, %d writes", err, d.writes)
	}
	twin := sample(19)
	twin.Floor.SHA256 = hash("another of the same version")
	if err := Save(d, twin); !errors.Is(err, ErrLower) {
		t.Errorf("saving other bytes of the same version: %v", err)
	}
	fork := sample(20)
	fork.Floor.StatementSHA256 = hash("a fork")
	if err := Save(d, fork); !errors.Is(err, ErrLower) {
		t.Errorf("saving a statement of other bytes: %v", err)
	}
	reborn := sample(1)
	reborn.Lineage = hash("another statement 1")
	if err := Save(&disk{data: bytes.Clone(d.data), cut: -1}, reborn); err != nil {
		t.Errorf("another lineage's state: %v", err)
	}
	other := sample(1)
	other.Channel = "testing"
	if err := Save(d, other); err != nil {
		t.Errorf("another channel's state: %v", err)
	}
}

// TestEveryTornSave cuts a Save after every byte, onto all that can lie there:
// nothing, one state, two, garbage. What is loaded is the old state or the new,
// and the next Save works.
func TestEveryTornSave(t *testing.T) {
	garbage := newDisk()
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(garbage.data)
	for name, start := range map[string]*disk{
		"nothing": newDisk(), "one": saved(t, 1), "two": saved(t, 1, 2), "three": saved(t, 1, 2, 3), "garbage": garbage,
	} {
		t.Run(name, func(t *testing.T) {
			old := load(t, start)
			for cut := range SlotSize {
				d := &disk{data: bytes.Clone(start.data), cut: cut}
				if err := Save(d, sample(9)); !errors.Is(err, errPower) {
					t.Fatalf("cut at %d: Save = %v", cut, err)
				}
				if got := load(t, d); got != old && got != 9 {
					t.Fatalf("cut at %d: version %d is loaded, want %d or 9", cut, got, old)
				}
				if cut%61 > 0 {
					continue
				}
				d.cut = -1
				if err := Save(d, sample(10)); err != nil || load(t, d) != 10 {
					t.Fatalf("cut at %d: the next Save = %v", cut, err)
				}
			}
		})
	}
}

// TestEveryFlippedByte: one bad byte anywhere costs one state at most.
func TestEveryFlippedByte(t *testing.T) {
	d := saved(t, 4, 5)
	for i := range d.data {
		if i%slotDistance >= SlotSize && i%61 > 0 {
			continue // between the slots a sample will do
		}
		d.data[i] ^= 0x10
		if got := load(t, d); got != 4 && got != 5 {
			t.Fatalf("byte %d: version %d is loaded", i, got)
		}
		d.data[i] ^= 0x10
	}
}

func TestSaveLooksWhatArrived(t *testing.T) {
	d := saved(t, 1)
	d.flip = 1
	if err := Save(d, sample(2)); err == nil || load(t, d) != 1 {
		t.Errorf("a bad disk: Save = %v, version %d is loaded", err, load(t, d))
	}
	broken := errors.New("on fire")
	d.flip, d.sync = 0, broken
	if err := Save(d, sample(2)); !errors.Is(err, broken) {
		t.Errorf("Sync fails: Save = %v", err)
	}
	d.data = d.data[:slotDistance]
	if err := Save(d, sample(3)); !errors.Is(err, io.EOF) {
		t.Errorf("half a partition: Save = %v", err)
	}
	if _, err := Load(d); !errors.Is(err, io.EOF) {
		t.Errorf("half a partition: Load = %v", err)
	}
}

// Of an empty slot and one with garbage the garbage is the news, wherever it is.
func TestGarbageIsTold(t *testing.T) {
	for _, offset := range []int{0, slotDistance} {
		d := newDisk()
		copy(d.data[offset:], "garbage")
		if _, err := Load(d); !errors.Is(err, ErrMalformed) {
			t.Errorf("garbage at %d: %v", offset, err)
		}
	}
}
