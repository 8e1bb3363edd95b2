// Package carry is what the agent says to itself across a kexec. A machine that
// boots from an image has two kernels in turn: under the first one the agent finds
// out what to boot and by which network, and under the second one, as /init of the
// system's own initramfs, it serves the image. This package is the document that it
// finds there, and where things lie beside it.
//
// [Encode] and [Decode] are the calls. Decode promises that the document is one that
// Encode could have written: complete, within bounds, and of this version.
//
// Nobody signs the document. It travels in memory, between two kernels, in the
// initrd that the first one loads.
package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/strictjson"
)

// Format is the only version that this package reads and writes: writer and reader
// are the same program.
const Format = 1

// Where things lie in the second kernel's initramfs. The folder is gone before the
// system's own init runs.
const (
	// Dir is the folder that all of it lies in, but for the agent itself, /init.
	Dir = "/farboot"
	// File is the document.
	File = Dir + "/carry.json"
	// Init is the system's own /init: the file, or a link.
	Init = Dir + "/init"
	// Modules is the folder of kernel modules. They are loaded by the order of their
	// names: "000-loop.ko".
	Modules = Dir + "/modules"
	// Roots are the CA certificates, where a site is asked by https.
	Roots = Dir + "/ca.pem"
)

// Name is what the program that serves the image is called. The first letter tells
// systemd not to end it with the others when the machine is switched off
// (systemd.io/ROOT_STORAGE_DAEMONS).
const Name = "@farboot"

// The doors: how an image becomes a block device.
const (
	FUSE = "fuse" // a file of a FUSE file system, with a loop device over it
	NBD  = "nbd"  // a network block device whose server is here
)

// ErrMalformed is wrapped by the errors of [Decode] and [Encode].
var ErrMalformed = errors.New("malformed carried document")

// Bounds of a document.
const (
	maxSize  = report.MaxSize + 64<<10 // bytes; one has about 4000
	maxSites = 64                      // of a medium and a manifest together
	maxText  = 255                     // bytes of a name
)

// Document is what the second kernel's agent has to know.
type Document struct {
	Format int `json:"format"`
	// Image is the image, and Sites are asked for it, the best first.
	Image chunks.Image `json:"image"`
	Sites []string     `json:"sites"`
	// Networks are tried in their order: what the machine had under the first kernel,
	// as static addresses, and after it how it had come by them.
	Networks []netconf.Network `json:"networks"`
	// Proxy is asked in the place of the sites; "" is none.
	Proxy string `json:"proxy,omitzero"`
	// Time is when this was written, for clocks that know less.
	Time time.Time `json:"time"`
	// Door is the way to a block device, and Device its name.
	Door   string `json:"door"`
	Device string `json:"device"`
	// Profile says which chunks are read, in what order; nil is not known.
	Profile *object.Ref `json:"profile,omitzero"`
	// Cache is where chunks are kept; nil is nowhere.
	Cache *Cache `json:"cache,omitzero"`
	// Root is what an entry of the kind image starts; nil is the init that lies
	// beside the document.
	Root *Root `json:"root,omitzero"`
	// Report says whom to tell when the image cannot be read; nil is nobody.
	Report *Report `json:"report,omitzero"`
}

// Root is a root file system that is the image.
type Root struct {
	Entry  string `json:"entry"`  // names the folder of the overlay
	Fstype string `json:"fstype"` // the image's
	Init   string `json:"init"`   // the program that is started, an absolute path
	Label  string `json:"label,omitzero"`
	Copy   bool   `json:"copy,omitzero"` // into memory, if there is enough
}

// Cache says where chunks are kept: a file system that was found, or is expected. The
// fields are those of cachedisk.Where.
type Cache struct {
	Label string `json:"label,omitzero"`
	UUID  string `json:"uuid,omitzero"`
	Size  int64  `json:"size,omitzero"` // bytes
	Build string `json:"build,omitzero"`
	Seen  string `json:"seen,omitzero"`

	Overlay string `json:"overlay,omitzero"`
}

// Report says what to tell: the story of the boot under the first kernel, to which
// the second one adds.
type Report struct {
	URLs  []string      `json:"urls"`
	Story report.Report `json:"story"`
}

// Encode writes a document, and refuses what Decode would.
func Encode(d Document) ([]byte, error) {
	d.Format = Format
	if err := d.check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(d)
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), maxSize)
	}
	return data, err
}

// Decode reads a document.
func Decode(data []byte) (Document, error) {
	var d Document
	if err := strictjson.Decode(data, maxSize, &d); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := d.check(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// check tells what is wrong with a document.
func (d *Document) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	if err := d.Image.Check(); err != nil {
		return bad("image: %w", err)
	}
	if err := netconf.Check(d.Networks); err != nil {
		return bad("%w", err)
	}
	switch {
	case d.Format != Format:
		return bad("format %d, want %d", d.Format, Format)
	case len(d.Sites) < 1 || len(d.Sites) > maxSites:
		return bad("%d sites, want 1 to %d", len(d.Sites), maxSites)
	case d.Door != FUSE && d.Door != NBD:
		return bad("door %.20q", d.Door)
	case !strings.HasPrefix(d.Device, "/dev/") || path.Clean(d.Device) != d.Device || len(d.Device) > maxText:
		return bad("device %.20q", d.Device)
	case d.Time.IsZero():
		return bad("no time")
	}
	urls := slices.Clone(d.Sites)
	if d.Proxy != "" {
		urls = append(urls, d.Proxy)
	}
	if d.Report != nil {
		urls = append(urls, d.Report.URLs...)
	}
	for _, raw := range urls {
		if u, err := url.Parse(raw); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return bad("URL %.100q", raw)
		}
	}
	return d.Root.check()
}

// check tells what is wrong with what is started from the image.
func (r *Root) check() error {
	switch {
	case r == nil:
	case r.Entry == "" || len(r.Entry) > maxText || strings.ContainsAny(r.Entry, "/\x00") || strings.Trim(r.Entry, ".") == "":
		return fmt.Errorf("%w: entry %.20q", ErrMalformed, r.Entry)
	case !path.IsAbs(r.Init) || path.Clean(r.Init) != r.Init:
		return fmt.Errorf("%w: init %.100q", ErrMalformed, r.Init)
	case r.Fstype == "" || strings.ContainsAny(r.Fstype, "/\x00") || len(r.Fstype) > maxText || len(r.Label) > maxText:
		return fmt.Errorf("%w: file system %.20q with the label %.20q", ErrMalformed, r.Fstype, r.Label)
	}
	return nil
}

// HTTPS tells whether a certificate will have to be judged.
func (d *Document) HTTPS() bool {
	urls := slices.Concat(d.Sites, d.Image.URLs)
	if d.Report != nil {
		urls = append(urls, d.Report.URLs...)
	}
	return slices.ContainsFunc(urls, func(u string) bool { return strings.HasPrefix(u, "https:") })
}
