package keys

import (
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// PublishedFile is the name, in the keys folder, of what was published. It is
// data without secrets or host names, and belongs under version control: media
// begin where it ends, and a site whose folder was lost goes on counting.
const PublishedFile = "published.json"

// Published is what was published so far: the newest of each channel.
type Published struct {
	Format    int           `json:"format"`
	Published []Publication `json:"published"`
}

// Publication is the newest manifest of an architecture's channel.
type Publication struct {
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Statement is the trust statement that was the newest then.
	Statement int64     `json:"statement"`
	Epoch     int64     `json:"epoch"`
	Version   int64     `json:"version"`
	SHA256    object.ID `json:"sha256"`
	Issued    time.Time `json:"issued"`
}

// LoadPublished reads what was published with the keys in the folder dir. That
// nothing was is no error.
func LoadPublished(dir string) (Published, error) { return Published{}, errUnfinished }

// Record notes a publication, atomically. It only ever raises what is noted:
// an older one changes nothing, and other bytes under the same version are an
// error.
func Record(dir string, p Publication) error { return errUnfinished }

// Find returns the newest publication of a channel.
func (p Published) Find(arch, channel string) (Publication, bool) { return Publication{}, false }

// Floor returns below what no machine of the channel should go. It is zero if
// nothing was published.
func (p Published) Floor(arch, channel string) state.Floor { return state.Floor{} }
