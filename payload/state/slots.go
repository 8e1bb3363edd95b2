package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// SlotSize is how many bytes are read and written at once: a sector of the
	// largest kind that disks have.
	SlotSize = 4096
	// slotDistance keeps the slots apart, in bytes. Flash is programmed in pages
	// of up to 16 KiB, and a write that is torn may take all of a page along.
	slotDistance = 32 << 10
	// DeviceSize is what a Device has at least, in bytes.
	DeviceSize = 2 * slotDistance
)

// PartitionName is the name of the partition for the state on the stick of the
// medium with that build id: 30 of the 36 characters that a GPT has room for.
func PartitionName(build string) string { return "farboot state " + build }

// DataName is the name of the partition for files that people, and later agents, put
// on a stick: a FAT file system that "farboot write --data" makes.
const DataName = "farboot data"

// ErrNone says that nothing was ever saved: both slots hold zeros.
var ErrNone = errors.New("no state yet")

// Device keeps two slots. After Sync, what was written is on it for good, and is
// read from there.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// slot is what one of the two holds.
type slot struct {
	state    State
	sequence uint64 // 0 if err is set
	err      error
}

// Load returns the newest state on r. The error is [ErrNone], or wraps
// [ErrMalformed] where both slots hold something else, or is r's.
func Load(r io.ReaderAt) (State, error) {
	slots, err := readSlots(r)
	if err != nil {
		return State{}, err
	}
	newest := slots[newer(slots)]
	return newest.state, newest.err
}

// Save writes s over the older of the two states on d, and looks whether it has
// arrived. One that does not reach the newest state of the same product's
// channel is refused with [ErrLower]; one that equals it is not written.
func Save(d Device, s State) error {
	slots, err := readSlots(d)
	if err != nil {
		return err
	}
	at := newer(slots)
	newest := slots[at]
	if newest.err == nil {
		if err := Follows(newest.state, s); err != nil || newest.state.Equal(s) {
			return err
		}
	}
	frame, err := Seal(s, newest.sequence+1)
	if err != nil {
		return err
	}
	full := make([]byte, SlotSize)
	copy(full, frame)
	offset := int64(1-at) * slotDistance
	if _, err := d.WriteAt(full, offset); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	got := make([]byte, SlotSize)
	if err := readAt(d, got, offset); err != nil {
		return err
	}
	if !bytes.Equal(got, full) {
		return errors.New("what was written is not what is read")
	}
	return nil
}

// Follows tells whether s may be saved over old: it reaches old's floor, or old
// is of another product, channel or lineage. The error wraps [ErrLower].
func Follows(old, s State) error {
	if old.Of(s.Product, s.Channel, s.Lineage) && !old.Floor.Raise(s.Floor).Equal(s.Floor) {
		return fmt.Errorf("%w: from %s to %s", ErrLower, old.Floor, s.Floor)
	}
	return nil
}

// readSlots reads both slots. The error is r's.
func readSlots(r io.ReaderAt) (slots [2]slot, err error) {
	for i := range slots {
		data := make([]byte, SlotSize)
		if err := readAt(r, data, int64(i)*slotDistance); err != nil {
			return slots, err
		}
		if bytes.Equal(data, make([]byte, SlotSize)) {
			slots[i].err = ErrNone
			continue
		}
		slots[i].state, slots[i].sequence, slots[i].err = Unseal(data)
	}
	return slots, nil
}

// newer tells which of the slots to believe: the one with the higher number,
// or, where none has any, the one that can say more about why.
func newer(slots [2]slot) int {
	a, b := slots[0], slots[1]
	if a.sequence > b.sequence || a.sequence == b.sequence && !errors.Is(a.err, ErrNone) {
		return 0
	}
	return 1
}

// readAt fills data from offset on.
func readAt(r io.ReaderAt, data []byte, offset int64) error {
	if n, err := r.ReadAt(data, offset); n < len(data) {
		return fmt.Errorf("read at %d: %w", offset, err)
	}
	return nil
}
