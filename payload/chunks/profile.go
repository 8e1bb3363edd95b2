package chunks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/object"
)

// Profile says which chunks of an image a boot reads, by their numbers in the index,
// in the order of their first reading. A later boot brings them before they are asked
// for, see [Config].
type Profile []int

// MaxProfile bounds the chunks of a profile: 64 GiB of an image in chunks of 1 MiB,
// where a boot reads 500 MB. MaxProfileFile is what that takes as a file, in bytes.
const (
	MaxProfile     = 1 << 16
	MaxProfileFile = profileHead + MaxProfile*4
)

// ErrProfile is wrapped by every error of [DecodeProfile].
var ErrProfile = errors.New("not a boot profile")

// A profile is a head and a number for each chunk, as a signed varint (encoding/binary):
// how far it is from the one behind the chunk before. The head:
//
//	0   "FBP1"
//	4   SHA-256 of the image's index
const (
	profileMagic = "FBP1"
	profileHead  = 4 + 32
)

// Encode returns the profile as a file, for the image with that index.
func (p Profile) Encode(index object.ID) []byte {
	b := append([]byte(profileMagic), index[:]...)
	next := 0
	for _, i := range p {
		b = binary.AppendVarint(b, int64(i-next))
		next = i + 1
	}
	return b
}

// ProfileIndex returns of which index a profile is, as far as it has a head.
func ProfileIndex(data []byte) (object.ID, error) {
	if len(data) < profileHead || string(data[:4]) != profileMagic {
		return object.ID{}, fmt.Errorf("%w: it does not begin like one", ErrProfile)
	}
	return object.ID(data[4:profileHead]), nil
}

// DecodeProfile reads the profile of an image whose index has n chunks. It accepts
// nothing that [Profile.Encode] would not write: no chunk twice, and none that the
// image does not have.
func DecodeProfile(data []byte, index object.ID, n int) (Profile, error) {
	of, err := ProfileIndex(data)
	switch {
	case err != nil:
		return nil, err
	case of != index:
		return nil, fmt.Errorf("%w of this image: it is one of index %s", ErrProfile, of)
	case len(data) > MaxProfileFile:
		return nil, fmt.Errorf("%w: %d bytes", ErrProfile, len(data))
	}
	var p Profile
	seen, next := make([]bool, n), int64(0)
	for rest := data[profileHead:]; len(rest) > 0; {
		step, size := binary.Varint(rest)
		i := next + step
		if size <= 0 || i < 0 || i >= int64(n) || seen[i] || len(p) == MaxProfile {
			return nil, fmt.Errorf("%w: its %d. number is wrong", ErrProfile, len(p)+1)
		}
		seen[i], next, rest = true, i+1, rest[size:]
		p = append(p, int(i))
	}
	if !bytes.Equal(p.Encode(index), data) { // a number in more bytes than it takes
		return nil, fmt.Errorf("%w: it can be written shorter", ErrProfile)
	}
	return p, nil
}
