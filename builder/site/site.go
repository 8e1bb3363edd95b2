// Package site writes and serves the folder that machines boot from:
//
//	objects/<sha256>                  kernels and initrds
//	trust/1.json 1.json.sig ...       the trust statements
//	manifest.json manifest.json.sig   what there is to boot
//
// [Publish] adds to the folder, [Open] reads it as a machine would, [Handler]
// and [Serve] hand it out over HTTP. The folder is plain files; any web server
// or CDN that knows Range requests serves it as well.
//
// # What a reader sees
//
// Publish writes objects first, statements next, the manifest last; each file
// appears whole, by rename. The manifest and its signatures are two files, so
// it takes three renames: first the signature file gets the signatures of both
// the new and the old manifest (one that does not fit does no harm), then the
// manifest is replaced, then the signature file is left with the new
// signatures alone, since gpg calls the other one bad. At every moment, also
// after a crash, the two files on the disk fit. A reader that fetches them one
// after the other can still meet a whole publication in between; it finds the
// pair untrusted and tries once more.
//
// Objects that no manifest names any more are kept: a machine may be halfway
// through an older manifest.
//
// Publish signs nothing that a machine would refuse, and overwrites nothing
// that it cannot verify. It does not upload.
package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// ErrForeign is wrapped by errors that say that a folder holds a site that
// Publish must not continue.
var ErrForeign = errors.New("not this site")

// Open returns the manifest of the site in the folder dir, verified by store as
// a machine would. That there is no manifest yet is fs.ErrNotExist.
func Open(dir string, store *trust.Store, now time.Time) (*manifest.Manifest, error) {
	data, err := readFile(filepath.Join(dir, manifest.File), manifest.MaxSize)
	if err != nil {
		return nil, err
	}
	sigs, err := readFile(filepath.Join(dir, manifest.Signature), trust.MaxSignatureSize)
	if errors.Is(err, fs.ErrNotExist) {
		sigs, err = nil, nil // an unsigned manifest is untrusted, not missing
	}
	if err != nil {
		return nil, err
	}
	m, err := open(store, data, sigs, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifest.File), err)
	}
	return m, nil
}

// open verifies and decodes a manifest.
func open(store *trust.Store, data, sigs []byte, now time.Time) (*manifest.Manifest, error) {
	v, err := store.Open(trust.PurposeManifest, data, sigs, now)
	if err != nil {
		return nil, err
	}
	return manifest.Decode(v)
}

// refs returns every object that the manifest names, each once.
func refs(m *manifest.Manifest) []object.Ref {
	seen := map[object.Ref]bool{}
	var list []object.Ref
	add := func(ref object.Ref) {
		if !seen[ref] {
			seen[ref] = true
			list = append(list, ref)
		}
	}
	for _, e := range m.Entries {
		if e.Linux != nil {
			add(e.Linux.Kernel)
			for _, ref := range e.Linux.Initrd {
				add(ref)
			}
		}
	}
	return list
}

// readFile reads a file of at most max bytes.
func readFile(name string, max int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > max {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), max)
	}
	return os.ReadFile(name)
}
