package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// errSame says that another site's manifest was the same.
var errSame = errors.New("the same manifest as before")

// connect makes what the sites are asked with, through the given proxy if any.
// What was known of the mirrors holds no longer where another proxy is asked.
func (b *boot) connect(proxy string) {
	b.proxy = proxy
	b.clients()
	b.mirrors = fetch.NewMirrors(b.objects, b.Log, b.medium.Site...)
}

// clients makes the clients anew, by the present proxy and limits.
func (b *boot) clients() {
	options := []fetch.Option{fetch.UnsureClock(b.medium.Built)}
	if u, err := url.Parse(b.proxy); err == nil && b.proxy != "" {
		options = append(options, fetch.ProxyURL(u))
	}
	b.documents = fetch.New(b.limits.Documents, append(options, fetch.OnDate(b.date))...)
	b.objects = fetch.New(b.limits.Objects, append(options, fetch.OnDate(b.origins.answered))...)
}

// tighten keeps to a manifest's limits from now on, and no longer to those of the
// one before.
func (b *boot) tighten(l *manifest.Limits) {
	limits := b.own.Tighten(l)
	if limits == b.limits {
		return
	}
	b.limits = limits
	b.documents.Close()
	b.objects.Close()
	b.clients()
	b.mirrors = b.mirrors.Through(b.objects)
}

// sites boots by the newest manifest that any site has. All sites are asked at
// once. The first good manifest is not enough, since a mirror may be stale, and
// whoever runs one could hold machines back at what was once genuine: the other
// sites get [Limits.Gather] to show a newer one. The statements of all who have
// answered count for the manifests of each.
//
// One that leads to no kernel is followed by the next older one, and in the end
// by what the latest sites answer; the floor, raised with each hand-over, bounds
// how far back that can go. A site with a bad signature is condemned, which is to
// say that objects are asked for elsewhere first, and the boot goes on.
//
// Once a manifest's entries have all done their work, no other is looked at.
func (b *boot) sites(ctx context.Context, net *line) end {
	visiting, leave := context.WithCancel(ctx)
	defer leave()
	if len(b.medium.Site) > 1 {
		mirrors := b.mirrors
		guard.Go("probing the sites", func() error { mirrors.Probe(visiting, manifest.File); return nil },
			func(err error) { guard.Tell(err, b.Log) })
	}
	arrivals := b.visitAll(visiting)
	seen := map[object.ID]bool{}
	for pending := len(b.medium.Site); pending > 0 && ctx.Err() == nil; {
		end := b.Story.Stage("manifest")
		visits := b.gather(ctx, arrivals, pending)
		pending -= len(visits)
		found := b.judgeAll(ctx, visits, seen)
		end()
		for _, c := range found {
			b.tell(c.Accepted, c.site)
			if result := b.entries(ctx, net, c.Accepted); result != failed {
				return result
			}
		}
	}
	if ctx.Err() != nil {
		return over
	}
	return failed
}

// judged judges a site's manifest and this machine's document.
func (b *boot) judged(ctx context.Context, judge *accept.Judge, files accept.Files) (*accept.Accepted, error) {
	now := b.clock.Time()
	a, err := judge.Manifest(ctx, files, now)
	if err != nil {
		return nil, err
	}
	return judge.Document(ctx, files, now, a, b.Identity())
}

// gather returns the sites that have answered: all that are pending, or once one
// of them is good those that come within Limits.Gather. The best mirror is first.
func (b *boot) gather(ctx context.Context, arrivals <-chan *visit, pending int) (visits []*visit) {
	var enough <-chan time.Time
	for done := false; len(visits) < pending && !done; {
		select {
		case v := <-arrivals:
			visits = append(visits, v)
			if v.good && enough == nil {
				enough = time.After(b.limits.Gather)
			}
		case <-enough:
			done = true
		case <-ctx.Done():
			done = true
		}
	}
	rank := b.mirrors.Sites()
	slices.SortStableFunc(visits, func(v, w *visit) int {
		return cmp.Compare(slices.Index(rank, v.site), slices.Index(rank, w.site))
	})
	return visits
}

// candidate is a manifest that was accepted, and the site that it is from.
type candidate struct {
	*accept.Accepted
	site string
}

// judgeAll returns what can be booted by, the newest first. All statements are
// followed before the first manifest is judged. What is wrong with one is
// printed; manifests are judged by the last good one.
func (b *boot) judgeAll(ctx context.Context, visits []*visit, seen map[object.ID]bool) (found []candidate) {
	ctx, cancel := context.WithTimeout(ctx, b.limits.Manifest)
	defer cancel()
	none := func(context.Context, string, int64) ([]byte, error) { return nil, fs.ErrNotExist }
	for _, v := range visits {
		if v.err == nil {
			v.err = b.walk(ctx, v, v.files(none))
		}
	}
	b.tellTrust()
	for _, v := range visits {
		a, err := b.manifest(ctx, v, seen)
		switch {
		case err == nil:
			found = append(found, candidate{a, v.site})
		case errors.Is(err, errSame):
			b.Log("manifest: %v", err)
		default:
			b.fail("manifest", err)
			b.condemn(v.site, err)
		}
	}
	slices.SortStableFunc(found, func(c, d candidate) int { return newer(c.Accepted, d.Accepted) })
	b.tellOthers(found)
	return found
}

// tellOthers says which manifests are kept for when the first leads nowhere.
func (b *boot) tellOthers(found []candidate) {
	for i, c := range found {
		switch m := c.Manifest; {
		case i == 0:
		case newer(found[0].Accepted, c.Accepted) == 0:
			b.fail("manifest", fmt.Errorf("%w: %s and %s have different manifests of version %d", accept.ErrEquivocation, found[0].site, c.site, m.Version))
		default:
			b.Log("manifest: %s has version %d of epoch %d, which is older", c.site, m.Version, m.Epoch)
		}
	}
}

// walk follows a site's statements. The error means that there is nobody to ask
// for the rest.
func (b *boot) walk(ctx context.Context, v *visit, files accept.Files) error {
	err := b.judge.Walk(ctx, files)
	if err == nil || silent(err) {
		return err
	}
	b.fail("trust", from(v.site, err))
	b.condemn(v.site, err)
	return nil
}

// manifest judges what a site has for this machine, unless it is one of those
// seen: a mirror's is.
func (b *boot) manifest(ctx context.Context, v *visit, seen map[object.ID]bool) (*accept.Accepted, error) {
	if v.err != nil {
		return nil, from(v.site, v.err)
	}
	a, err := b.judged(ctx, b.judge, v.files(b.files(v.site)))
	if err != nil {
		return nil, from(v.site, err)
	}
	if seen[a.SHA256] {
		return nil, fmt.Errorf("%s: %w", v.site, errSame)
	}
	seen[a.SHA256] = true
	return a, nil
}

// condemn makes a site with a bad signature the last one to be asked for objects.
// An answer by somebody else in its place does not count.
func (b *boot) condemn(site string, err error) {
	if len(b.medium.Site) > 1 && errors.Is(err, trust.ErrUntrusted) && !errors.Is(err, fetch.ErrPortal) {
		b.mirrors.Condemn(site, err)
	}
}

// newer compares two manifests by the site's version, then by the document's.
func newer(a, b *accept.Accepted) int {
	f, g := a.Floor(), b.Floor()
	return cmp.Or(cmp.Compare(g.Epoch, f.Epoch), cmp.Compare(g.Version, f.Version), cmp.Compare(b.Manifest.Version, a.Manifest.Version))
}

// origins remembers which address answered last for a file, by the file's name.
// It is for the log: a mirror that was left in the middle does not show.
type origins struct {
	mu   sync.Mutex
	last map[string]string
}

// answered takes note of an answer. It is a [fetch.OnDate].
func (o *origins) answered(_ time.Time, address string, _ bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = map[string]string{}
	}
	o.last[path.Base(address)] = address
}

// of returns the address that answered for an object, or "".
func (o *origins) of(ref object.Ref) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last[path.Base(ref.Path())]
}
