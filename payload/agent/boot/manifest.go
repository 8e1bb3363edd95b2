package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// errSame says that another site's manifest was the same.
var errSame = errors.New("the same manifest as before")

// sites boots by the first site whose manifest is accepted and leads to a kernel
// that starts: what a stale or half-published site says is genuine and must not
// hide the next site. Each site's reason is printed. It tells whether a kernel
// was started, or else whether the round is over.
func (b *boot) sites(ctx context.Context, net Network) (started, over bool) {
	seen := map[object.ID]bool{}
	for _, site := range b.medium.Site {
		a, err := b.ask(ctx, site, seen)
		switch {
		case err == nil:
			started, over = b.entries(ctx, net, a)
		case errors.Is(err, errSame):
			b.Log("manifest: %v", err)
		default:
			b.fail("manifest", err)
		}
		if started || over || ctx.Err() != nil {
			return started, !started
		}
	}
	return false, false
}

// ask gets what one site has for this machine, unless it is one of those seen. A
// mirror's is, and objects were asked for at all sites already.
func (b *boot) ask(ctx context.Context, site string, seen map[object.ID]bool) (*accept.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limits.Manifest)
	defer cancel()
	a, err := b.accepted(ctx, site)
	if err != nil {
		return nil, from(site, err)
	}
	if seen[a.SHA256] {
		return nil, fmt.Errorf("%s: %w", site, errSame)
	}
	seen[a.SHA256] = true
	b.tell(a, site)
	return a, nil
}

// accepted judges a site, a second time where a publication may have come
// between two of its files. What is wrong with a statement is printed; the
// manifest is judged by the last good one.
func (b *boot) accepted(ctx context.Context, site string) (*accept.Accepted, error) {
	files := b.files(site)
	a, walk, err := b.judged(ctx, files)
	if errors.Is(err, trust.ErrUntrusted) || errors.Is(err, trust.ErrChain) || errors.Is(err, accept.ErrRollback) {
		pause(ctx, b.limits.Publication)
		a, walk, err = b.judged(ctx, files)
	}
	if walk != nil {
		b.fail("trust", from(site, walk))
	}
	return a, err
}

// from names the site in an error that does not name it yet.
func from(site string, err error) error {
	if _, named := errors.AsType[*fetch.Error](err); named {
		return err
	}
	return fmt.Errorf("%s: %w", site, err)
}

// judged follows the statements and judges the manifest and this machine's
// document once. A site that gives no answers while its statements are asked for
// is not asked for the rest.
func (b *boot) judged(ctx context.Context, files accept.Files) (a *accept.Accepted, walk, err error) {
	walk = b.judge.Walk(ctx, files)
	b.tellTrust()
	if ctx.Err() != nil || silent(walk) {
		return nil, nil, walk
	}
	now := b.clock.Time()
	if a, err = b.judge.Manifest(ctx, files, now); err != nil {
		return nil, walk, err
	}
	a, err = b.judge.Document(ctx, files, now, a, b.Identity())
	return a, walk, err
}

// silent tells whether err means that there is no server to talk to. One that
// answers badly where a file is missing may have the next one.
func silent(err error) bool {
	_, answered := errors.AsType[*fetch.StatusError](err)
	return !answered && (errors.Is(err, fetch.ErrUnreachable) || errors.Is(err, fetch.ErrRefused))
}

// files fetches the small files of a site.
func (b *boot) files(site string) accept.Files {
	return func(ctx context.Context, name string, max int64) ([]byte, error) {
		data, err := b.documents.Document(ctx, join(site, name), max)
		if errors.Is(err, fetch.ErrNotFound) {
			return nil, missing{err}
		}
		return data, err
	}
}

// missing is the error for a file that a site does not have.
type missing struct{ error }

// Is makes it fs.ErrNotExist.
func (missing) Is(target error) bool { return target == fs.ErrNotExist }

// Unwrap returns what the site said.
func (m missing) Unwrap() error { return m.error }

// tellTrust says whom the machine believes, whenever that has changed.
func (b *boot) tellTrust() {
	st := b.judge.Store().Statement()
	if st.Version == b.told {
		return
	}
	b.told = st.Version
	b.Log("trust: statement %d (the medium carries %d), product %s: %d of %s must sign a manifest",
		st.Version, b.medium.Store.Statement().Version, st.Product, st.Roles.Manifest.Threshold, short(st.Roles.Manifest.Keys))
}

// tell says what was accepted, how old it is, by whom it was signed, and what
// could not be verified. The clock learns its date, which is as good as its
// signer's clock, and was as good at the time as a thief's who had the key.
func (b *boot) tell(a *accept.Accepted, site string) {
	m := a.Manifest
	b.clock.Offer(m.Issued, "the manifest's date", false)
	now, what := b.clock.Time(), "version"
	if m.Document != "" {
		what = "document " + m.Document + ", version"
	}
	b.Log("manifest: %s %d of epoch %d, %s old, signed by %s, from %s", what, m.Version, m.Epoch, age(now.Now.Sub(m.Issued)), short(a.Signers), site)
	for _, doubt := range a.Doubts {
		b.Log("manifest: time not verified: %s", doubt)
	}
}

// join returns the URL of a site's file.
func join(site, name string) string { return strings.TrimSuffix(site, "/") + "/" + name }

// age shows how long ago something was, in the largest unit that tells.
func age(d time.Duration) string {
	d = max(d, 0) // a signer's clock may be ahead
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
