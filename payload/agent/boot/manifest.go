package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// errSame says that another site's manifest was the same.
var errSame = errors.New("the same manifest as before")

// sites boots by the first site whose manifest is verified, meant for this
// medium and leads to a kernel that starts: what a stale or half-published site
// says is genuine and must not hide the next site. Each site's reason is
// printed. It tells whether a kernel was started, or else whether the round is
// over.
func (b *boot) sites(ctx context.Context, net Network) (started, over bool) {
	seen := map[object.ID]bool{}
	for _, site := range b.medium.Site {
		m, err := b.ask(ctx, site, seen)
		switch {
		case err == nil:
			started, over = b.entries(ctx, net, m)
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

// ask gets one site's manifest, unless it is one of those seen. A mirror's is,
// and objects were asked for at all sites already.
func (b *boot) ask(ctx context.Context, site string, seen map[object.ID]bool) (*manifest.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limits.Manifest)
	defer cancel()
	v, err := b.verified(ctx, site)
	if err != nil {
		return nil, err
	}
	id := object.OfBytes(v.Bytes()).SHA256
	if seen[id] {
		return nil, fmt.Errorf("%s: %w", site, errSame)
	}
	seen[id] = true
	m, err := manifest.Decode(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", site, err)
	}
	if err := m.Suits(b.medium.Store.Statement().Product, b.medium.Arch, b.medium.Channel); err != nil {
		return nil, fmt.Errorf("%s: %w", site, err)
	}
	b.clock(m.Issued, "the manifest was issued")
	b.Log("manifest: version %d, %s old, signed by %s, from %s", m.Version, age(time.Since(m.Issued)), short(v.Signers()), site)
	for _, doubt := range v.Doubts() {
		b.Log("manifest: time not verified, but by this clock: %s", doubt)
	}
	if !m.Expires.IsZero() && time.Now().After(m.Expires) {
		b.Log("manifest: time not verified, but by this clock: expired %s ago", age(time.Since(m.Expires)))
	}
	return m, nil
}

// verified fetches the manifest and its signatures and opens them, a second time
// where a publication may have come between the two.
func (b *boot) verified(ctx context.Context, site string) (trust.Verified, error) {
	v, err := b.open(ctx, site)
	if errors.Is(err, trust.ErrUntrusted) {
		pause(ctx, b.limits.Publication)
		v, err = b.open(ctx, site)
	}
	return v, err
}

// open fetches both files once.
func (b *boot) open(ctx context.Context, site string) (trust.Verified, error) {
	data, err := b.documents.Document(ctx, join(site, manifest.File), manifest.MaxSize)
	if err != nil {
		return trust.Verified{}, err
	}
	sigs, err := b.documents.Document(ctx, join(site, manifest.Signature), trust.MaxSignatureSize)
	if err != nil {
		return trust.Verified{}, err
	}
	v, err := b.medium.Store.Open(trust.PurposeManifest, data, sigs, time.Now())
	if err != nil {
		return trust.Verified{}, fmt.Errorf("%s: %w", join(site, manifest.File), err)
	}
	return v, nil
}

// join returns the URL of a site's file.
func join(site, name string) string { return strings.TrimSuffix(site, "/") + "/" + name }

// age shows how long ago something was, in the largest unit that tells.
func age(d time.Duration) string {
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
