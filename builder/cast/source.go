package cast

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// ErrSource: what is to be cast cannot be.
var ErrSource = errors.New("cannot be cast")

// Source is an image at the desk, with its group.
type Source struct {
	*cast.Image
	Group netip.AddrPort
	// Name is for people: the entry's, or the file's.
	Name string

	file *os.File
}

// Close closes the image's file.
func (s *Source) Close() error { return s.file.Close() }

// OpenSite opens the image of a site's "flash" entry that has "cast:". Without a name
// it is the only one. Signatures are not looked at: machines do that.
func OpenSite(dir, entry string) (*Source, error) {
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, err
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, ErrSource, err)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		if x := m.Entries[name].Flash; x != nil && x.Cast != nil && (entry == "" || entry == name) {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		return nil, fmt.Errorf("%s: %w: want one entry with flash and cast, there are %d: %s", dir, ErrSource, len(names), strings.Join(names, " "))
	}
	x := m.Entries[names[0]].Flash
	group, err := cast.ParseGroup(x.Cast.Group)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, ErrSource, err)
	}
	index, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(x.Index.Path())))
	if err != nil {
		return nil, err
	}
	return open(filepath.Join(dir, filepath.FromSlash(x.Image.Path())), names[0], x.Image, index, group)
}

// OpenFile opens a seekable file and its index, as "farboot publish" makes them.
func OpenFile(name, index string, group netip.AddrPort) (*Source, error) {
	data, err := os.ReadFile(index)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	return open(name, filepath.Base(name), object.Ref{Size: info.Size()}, data, group)
}

// open opens a file, of which the end is its table.
func open(name, title string, ref object.Ref, index []byte, group netip.AddrPort) (_ *Source, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	s := &Source{Group: group, Name: title, file: f}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w: %w", title, ErrSource, err), f.Close())
		}
	}()
	x, err := caibx.Decode(index)
	if err != nil {
		return nil, err
	}
	n := chunks.TableSize(x)
	if ref.Size < n {
		return nil, fmt.Errorf("%d bytes are no seekable file: %w", ref.Size, fs.ErrInvalid)
	}
	end, err := io.ReadAll(io.NewSectionReader(f, ref.Size-n, n))
	if err != nil {
		return nil, err
	}
	table, err := chunks.DecodeTable(end, x)
	if err != nil {
		return nil, err
	}
	s.Image, err = cast.NewImage(x, table, ref)
	return s, err
}
