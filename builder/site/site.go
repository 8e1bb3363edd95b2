// Package site writes and serves the folder that machines boot from:
//
//	objects/<sha256>                  kernels, initrds, scripts, images
//	trust/1.json 1.json.sig ...       the trust statements
//	machines/<id>.json <id>.json.sig  documents for single machines, if any
//	manifest.json manifest.json.sig   what there is to boot
//
// [Publish] adds to the folder, [Complete] ends a publication that several
// people sign, [Verify] reads the folder as machines would, [Handler] and
// [Serve] hand it out over HTTP. The folder is plain files; any web server or
// CDN that knows Range requests serves it as well.
//
// # What a reader sees
//
// Publish writes objects first, statements next, the manifest last; each file
// appears whole, by rename. A machine walks the statements, then reads the
// manifest and its signatures. So that it finds something that fits at every
// moment, also after a crash:
//
//   - The signature file first gets the signatures of both the new and the old
//     manifest; one that does not fit does no harm. Then the manifest is
//     replaced. Then the signature file is left with the new signatures alone,
//     since gpg calls the other ones bad.
//   - Where a statement appears whose keys did not sign the old manifest, they
//     sign it too, for that moment. They only do so for what this desk is known
//     to have published, and within one epoch. Otherwise, after a key was
//     revoked, machines that come between two renames refuse the site, and try
//     once more.
//   - Documents of machines change all at once, as a folder. They are in place
//     before the manifest, so that each is as new as the manifest or newer.
//     Those of machines that are no longer listed go after it.
//
// A reader that fetches two files one after the other can still meet a whole
// publication in between; it finds the pair untrusted and tries once more.
//
// Objects that no manifest names any more are kept: a machine may be halfway
// through an older manifest.
//
// Publish signs nothing that a machine would refuse, and overwrites nothing
// that it does not know. It does not upload.
package site

import (
	"errors"
	"time"

	"github.com/farboot/farboot/payload/clock"
)

var (
	// ErrForeign is wrapped by errors that say that a folder holds a site that
	// Publish must not continue.
	ErrForeign = errors.New("not this site")
	// ErrElsewhere is wrapped by errors that say that the channel is what another
	// recipe publishes, or is published to another folder.
	ErrElsewhere = errors.New("the channel is another site's")
	// ErrStale is wrapped by errors that say that the site went on while a
	// manifest waited for signatures.
	ErrStale = errors.New("the site went on meanwhile")
)

// deskTime is now as the operator's computer tells it, who answers for it.
func deskTime(now time.Time) clock.Time {
	return clock.Time{Now: now, Trusted: true, Source: "this computer"}
}
