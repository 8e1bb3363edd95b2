package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/object"
)

// Mirrors are sites that ought to hold the same objects, and what is known of
// each. They live as long as the boot. These are the rules, with the names of
// their [Limits]:
//
//   - [Mirrors.Probe] asks all sites at once for a small file; the first to
//     answer ends the wait. [Mirrors.Sites] ranks them: by the rate last
//     measured, then by the time to the first byte, then as they were given, and
//     behind those the ones that were found slow.
//   - An object is asked for at the best site. One that fails is left at once
//     for the next, which goes on from where it ended. A site that failed rests
//     for a pause that doubles (Backoff), or that it asked for (RetryAfterMax);
//     the pause is waited for only where no other site is left. After Attempts
//     failures in a row that brought nothing new, and at once where it does not
//     have the object, a site is out for this object.
//   - The rate is measured over each Trial. A site is left where another is known
//     that would do the rest in less than half the time. Where the rest would
//     take ten times Trial or more, each unmeasured site gets its own trial, once.
//     Silence for Trial is a failure as long as another site has none.
//     An only site is used to the end, above MinRate.
//   - A site that gave wrong bytes, all by itself, is condemned: all others are
//     asked before it, for good. Where bytes of several sites do not make the
//     object, nobody knows whose fault it is and nobody is condemned; this object
//     and the next ones are fetched from one site after the other, each from the
//     beginning, until wrong bytes have one culprit. A captive portal condemns
//     nobody.
//   - Rates and failures are forgotten after Forget.
//
// A bad site can so cost time, but neither the object nor another site's name.
// Mirrors are safe for parallel use.
type Mirrors struct {
	client *Client
	log    func(format string, args ...any)

	mu    sync.Mutex
	all   []*mirror // as they were given
	alone bool      // objects are not to be mixed: somebody gives wrong bytes, and it is not known who
}

// mirror is what is known of one site. Mirrors.mu guards all of it but the site.
type mirror struct {
	site      string
	firstByte time.Duration // of an answer to a probe; 0 is unknown
	rate      int64         // bytes/s; 0 is unknown
	measured  time.Time     // when rate was
	slow      bool          // it was left for another
	failures  int           // in a row
	failed    time.Time     // when the last failure was
	rests     time.Time     // until when
	trouble   error         // why it was condemned, or else the last failure
	condemned bool
}

// NewMirrors returns the given sites as mirrors of each other. log, where not
// nil, is told in one line of each change of what is known, one at a time; it
// must not use the Mirrors.
func NewMirrors(c *Client, log func(format string, args ...any), sites ...string) *Mirrors {
	if log == nil {
		log = func(string, ...any) {}
	}
	m := &Mirrors{client: c, log: log}
	m.Add(sites...)
	return m
}

// Add adds sites that are not there yet, as a manifest names them.
func (m *Mirrors) Add(sites ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, site := range sites {
		if m.find(site) == nil {
			m.all = append(m.all, &mirror{site: site})
		}
	}
}

// Through returns the same sites, with what is known of each, to be asked by
// another client.
func (m *Mirrors) Through(c *Client) *Mirrors {
	m.mu.Lock()
	defer m.mu.Unlock()
	other := &Mirrors{client: c, log: m.log, alone: m.alone}
	for _, mir := range m.all {
		known := *mir
		other.all = append(other.all, &known)
	}
	return other
}

// find returns what is known of a site, or nil.
func (m *Mirrors) find(site string) *mirror {
	for _, mir := range m.all {
		if join(mir.site, "") == join(site, "") {
			return mir
		}
	}
	return nil
}

// Sites returns all sites, the best first.
func (m *Mirrors) Sites() []string {
	var sites []string
	for _, h := range m.Health() {
		sites = append(sites, h.Site)
	}
	return sites
}

// Health is what is known of a site.
type Health struct {
	Site      string
	FirstByte time.Duration // time to the first byte of a small file; 0 is unknown
	Rate      int64         // bytes/s of one connection; 0 is unknown
	Condemned bool          // it gave wrong bytes or signatures
	Trouble   error         // why it was condemned, or else its last failure; nil is none
}

// Health returns what is known of all sites, the best first.
func (m *Mirrors) Health() []Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Health
	for _, mir := range m.ranked() {
		all = append(all, Health{mir.site, mir.firstByte, mir.rate, mir.condemned, mir.trouble})
	}
	return all
}

// ranked returns the mirrors, the best first, and forgets what is old.
func (m *Mirrors) ranked() []*mirror {
	now := time.Now()
	for _, mir := range m.all {
		if now.Sub(mir.measured) > m.client.limits.Forget {
			mir.rate, mir.slow = 0, false
		}
		if now.Sub(mir.failed) > m.client.limits.Forget && now.After(mir.rests) && !mir.condemned {
			mir.failures, mir.trouble = 0, nil
		}
	}
	all := slices.Clone(m.all)
	slices.SortStableFunc(all, func(a, b *mirror) int {
		return cmp.Or(
			first(!a.condemned, !b.condemned),
			cmp.Compare(max(a.rests.Sub(now), 0), max(b.rests.Sub(now), 0)),
			first(!a.slow, !b.slow),
			cmp.Compare(b.rate, a.rate),
			first(a.firstByte > 0, b.firstByte > 0),
			cmp.Compare(a.firstByte, b.firstByte),
		)
	})
	return all
}

// first compares two sites of which one may have what makes it the better one.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Probe asks all sites at once for a small file, such as the manifest, and
// returns as soon as one has answered well, or all have failed. The answers of
// the others still count as they come, until ctx ends.
func (m *Mirrors) Probe(ctx context.Context, name string) {
	m.mu.Lock()
	all := slices.Clone(m.all)
	m.mu.Unlock()
	answered, done := make(chan struct{}, len(all)), make(chan struct{})
	var group sync.WaitGroup
	for _, mir := range all {
		group.Add(1)
		guard.Go("probing "+display(mir.site), func() error {
			if m.probe(ctx, mir, name) {
				answered <- struct{}{}
			}
			return nil
		}, func(err error) {
			m.crashed(err)
			group.Done()
		})
	}
	guard.Go("probing", func() error { group.Wait(); return nil }, func(error) { close(done) })
	select {
	case <-answered:
	case <-done:
	}
}

// probe asks one site for the first byte of a file.
func (m *Mirrors) probe(ctx context.Context, mir *mirror, name string) bool {
	start := time.Now()
	err := m.client.get(ctx, join(mir.site, name), http.Header{"Range": {"bytes=0-0"}}, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
			return statusError(resp)
		}
		head, err := io.ReadAll(io.LimitReader(resp.Body, 512))
		if err == nil && LooksLikeHTML(head) {
			return fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
		}
		return err
	})
	took := time.Since(start)
	if ctx.Err() != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.fail(mir, err)
		return false
	}
	mir.well()
	mir.firstByte = took
	m.log("mirror %s answers in %s", display(mir.site), took.Round(time.Millisecond))
	return true
}

// crashed tells where a crash came from, if err is one.
func (m *Mirrors) crashed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	guard.Tell(err, m.log)
}

// Document fetches a small file from one site, as [Client.Document] does, and
// remembers how that went. Whether the bytes are any good, the caller must tell;
// see [Mirrors.Condemn].
func (m *Mirrors) Document(ctx context.Context, site, name string, max int64) ([]byte, error) {
	doc, err := m.client.Document(ctx, join(site, name), max)
	m.mu.Lock()
	defer m.mu.Unlock()
	mir := m.find(site)
	switch {
	case mir == nil || ctx.Err() != nil:
	case err == nil:
		mir.well()
	case !errors.Is(err, ErrNotFound):
		m.fail(mir, err)
	}
	return doc, err
}

// Condemn says that a site gave wrong bytes or a bad signature: every other one
// is asked before it from now on.
func (m *Mirrors) Condemn(site string, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mir := m.find(site); mir != nil {
		m.condemn(mir, why)
	}
}

// condemn puts a site behind all others.
func (m *Mirrors) condemn(mir *mirror, why error) {
	mir.condemned, mir.trouble, m.alone = true, shown{why}, false
	m.log("mirror %s is condemned: %s", display(mir.site), mir.trouble)
}

// fail lets a site rest.
func (m *Mirrors) fail(mir *mirror, err error) {
	var asked time.Duration
	if status, ok := errors.AsType[*StatusError](err); ok {
		asked = status.RetryAfter
	}
	mir.failed = time.Now()
	if mir.failures++; mir.failures > 1 { // after the first, what is known of it may still hold
		mir.rate = 0
	}
	rest := m.client.limits.pause(mir.failures, asked)
	mir.rests = mir.failed.Add(rest)
	if !mir.condemned {
		mir.trouble = shown{err}
	}
	m.log("mirror %s rests for %.1f s: %s", display(mir.site), rest.Seconds(), shown{err})
}

// well says that a site has done what it should.
func (mir *mirror) well() {
	mir.failures, mir.rests = 0, time.Time{}
	if !mir.condemned {
		mir.trouble = nil
	}
}

// Want is an object to be fetched, see [Client.Object] for what To and Progress
// are.
type Want struct {
	Ref      object.Ref
	To       io.WriterAt
	Progress func(done int64) // may be nil; one object's calls come one after the other
}

// Objects fetches several objects at a time, in the order given where there are
// more than Parallel. It ends with the first that cannot be had.
func (m *Mirrors) Objects(ctx context.Context, wants ...Want) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, m.client.limits.Parallel)
	var group sync.WaitGroup
	for _, want := range wants {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		group.Add(1)
		guard.Go("fetching object "+want.Ref.SHA256.String(), func() error {
			return m.Object(ctx, want.Ref, want.To, want.Progress)
		}, func(err error) {
			if err != nil {
				cancel(err)
			}
			<-slots
			group.Done()
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// join returns the URL of a site's file. Without a name that is the site's own.
func join(site, name string) string {
	site = strings.TrimSuffix(site, "/")
	if name == "" {
		return site
	}
	return site + "/" + name
}
