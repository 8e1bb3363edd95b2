package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// Cache names the file system on a machine's disks where what was read of an image is
// kept, so that the next boot need not fetch it again. Without it, any FAT or ext
// file system is taken that has a folder farboot-cache, and none is written to that
// its system did not unmount. On the one that is named the folder is made, and its
// journal replayed.
type Cache struct {
	// Label and UUID are the file system's, as blkid shows them; both empty is
	// wherever a folder is.
	Label string `json:"label,omitzero"`
	UUID  string `json:"uuid,omitzero"`
	// Size is how much the cache may take, in MiB; 0 is half of the room there is, and
	// at most 4 GiB.
	Size int `json:"size,omitzero"`
}

// The size of a cache, in MiB: a few chunks at least, and a terabyte.
const minCache, maxCache = 32, 1 << 20

// CheckCache tells what is wrong with where a cache is to be; nil is anywhere.
func CheckCache(c *Cache) error {
	switch {
	case c == nil:
		return nil
	case *c == Cache{}:
		return errors.New("cache: want label, uuid or size")
	case checkText(c.Label, 16) != nil:
		return fmt.Errorf("cache: label %+q: want up to 16 printable ASCII characters", clip(c.Label))
	case len(c.UUID) > 36 || strings.Trim(c.UUID, "0123456789abcdefABCDEF-") != "":
		return fmt.Errorf("cache: uuid %+q: want one as blkid shows it", clip(c.UUID))
	case c.Size != 0 && (c.Size < minCache || c.Size > maxCache):
		return fmt.Errorf("cache: %d MiB, want %d to %d", c.Size, minCache, maxCache)
	}
	return nil
}
