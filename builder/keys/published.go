package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// PublishedFile is the name, in the keys folder, of what was published. It is
	// data without secrets or host names, and belongs under version control: media
	// begin where it ends, and a site whose folder was lost goes on counting.
	PublishedFile = "published.json"
	// publishedFormat is the only layout version that is read and written.
	publishedFormat = 1
)

// Published is what was published so far: the newest of each channel.
type Published struct {
	Format    int           `json:"format"`
	Published []Publication `json:"published"`
}

// Publication is the newest manifest of an architecture's channel.
type Publication struct {
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Recipe and Folder are what was published, and to where, both relative to
	// the project: one recipe and one folder have the channel. Empty if an older
	// farboot published it.
	Recipe string `json:"recipe,omitzero"`
	Folder string `json:"folder,omitzero"`
	// Statement is the trust statement that was the newest then.
	Statement int64     `json:"statement"`
	Epoch     int64     `json:"epoch"`
	Version   int64     `json:"version"`
	SHA256    object.ID `json:"sha256"`
	Issued    time.Time `json:"issued"`
	// Expires is when machines that know the time refuse it; zero if an older
	// farboot published it.
	Expires time.Time `json:"expires,omitzero"`
}

// LoadPublished reads what was published with the keys in the folder dir. That
// nothing was is no error.
func LoadPublished(dir string) (Published, error) {
	name := filepath.Join(dir, PublishedFile)
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Published{Format: publishedFormat}, nil
	}
	if err != nil {
		return Published{}, err
	}
	p, err := decodePublished(data)
	if err != nil {
		return Published{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// decodePublished reads what encode wrote.
func decodePublished(data []byte) (Published, error) {
	var p Published
	if err := strictjson.Decode(data, maxFile, &p); err != nil {
		return Published{}, err
	}
	if err := p.check(); err != nil {
		return Published{}, err
	}
	return p, nil
}

// encode returns the bytes of the file, sorted.
func (p Published) encode() ([]byte, error) {
	p.Published = append([]Publication{}, p.Published...)
	slices.SortFunc(p.Published, func(a, b Publication) int {
		return strings.Compare(a.Arch+"/"+a.Channel, b.Arch+"/"+b.Channel)
	})
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// check refuses what Record does not write.
func (p Published) check() error {
	if p.Format != publishedFormat {
		return fmt.Errorf("format %d, this program reads format %d", p.Format, publishedFormat)
	}
	for i, pub := range p.Published {
		if err := pub.check(); err != nil {
			return err
		}
		if first, _ := p.find(pub.Arch, pub.Channel); first != i {
			return fmt.Errorf("%s/%s stands twice", pub.Arch, pub.Channel)
		}
	}
	return nil
}

// check tells why pub cannot have been published.
func (pub Publication) check() error {
	err := errors.Join(manifest.CheckName(pub.Arch), manifest.CheckName(pub.Channel), pub.floor().Check())
	if err == nil && (pub.Statement < 1 || pub.Version < 1 || pub.Issued.IsZero()) {
		err = fmt.Errorf("statement %d, version %d: want 1 or more of both, and a date", pub.Statement, pub.Version)
	}
	if err != nil {
		return fmt.Errorf("publication %q of %q: %w", pub.Channel, pub.Arch, err)
	}
	return nil
}

// floor is the publication as machines remember it.
func (pub Publication) floor() state.Floor {
	return state.Floor{Statement: pub.Statement, Epoch: pub.Epoch, Version: pub.Version, SHA256: pub.SHA256, Issued: pub.Issued}
}

// Record notes a publication, atomically. It only ever raises what is noted: an
// older one raises the statement's version at most, and other bytes under the
// same version are an error.
func Record(dir string, pub Publication) error {
	pub.Issued, pub.Expires = pub.Issued.UTC().Truncate(time.Second), pub.Expires.UTC().Truncate(time.Second)
	if err := pub.check(); err != nil {
		return err
	}
	unlock, err := lock(dir, true)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := LoadPublished(dir)
	if err != nil {
		return err
	}
	if i, ok := p.find(pub.Arch, pub.Channel); !ok {
		p.Published = append(p.Published, pub)
	} else if err := p.Published[i].raise(pub); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, PublishedFile), err)
	}
	data, err := p.encode()
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, PublishedFile), data, 0o644)
}

// raise takes over what is newer in pub.
func (have *Publication) raise(pub Publication) error {
	if have.Epoch == pub.Epoch && have.Version == pub.Version && have.SHA256 != pub.SHA256 {
		return fmt.Errorf("version %d of %s/%s was published with sha256 %s, and now with %s",
			pub.Version, pub.Arch, pub.Channel, have.SHA256, pub.SHA256)
	}
	if pub.Folder != "" {
		have.Recipe, have.Folder = pub.Recipe, pub.Folder
	}
	f := have.floor().Raise(pub.floor())
	if f.Epoch == pub.Epoch && f.Version == pub.Version {
		have.Expires = pub.Expires
	}
	have.Statement, have.Epoch, have.Version, have.SHA256, have.Issued = f.Statement, f.Epoch, f.Version, f.SHA256, f.Issued
	return nil
}

// find returns where a channel stands.
func (p Published) find(arch, channel string) (int, bool) {
	i := slices.IndexFunc(p.Published, func(pub Publication) bool { return pub.Arch == arch && pub.Channel == channel })
	return i, i >= 0
}

// Find returns the newest publication of a channel.
func (p Published) Find(arch, channel string) (Publication, bool) {
	if i, ok := p.find(arch, channel); ok {
		return p.Published[i], true
	}
	return Publication{}, false
}

// Floor returns below what no machine of the channel should go. It is zero if
// nothing was published.
func (p Published) Floor(arch, channel string) state.Floor {
	pub, ok := p.Find(arch, channel)
	if !ok {
		return state.Floor{}
	}
	return pub.floor()
}
