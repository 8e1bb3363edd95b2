package apt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/payload/object"
)

// Client reads repositories. Document and Fetch are its only ways out, and
// must be safe for concurrent use.
type Client struct {
	// Document returns the bytes at url, or an error where there are more
	// than max.
	Document func(ctx context.Context, url string, max int64) ([]byte, error)
	// Fetch returns the path of a file that holds the object ref, out of a
	// cache or from the first of urls that has it. Where what came was not the
	// object, its error wraps object.ErrMismatch.
	Fetch func(ctx context.Context, urls []string, ref object.Ref) (path string, err error)
	// Now is the operator's clock; nil means time.Now.
	Now func() time.Time
	// Floor is the newest Date seen before: a lock's Archive. Where no
	// repository is as new, Open fails with ErrStale. Zero means no floor.
	Floor time.Time
}

// Open reads all repositories of cfg, at the same time, and verifies them. A
// mirror that fails in any way is passed over for the next one, and named in
// [Index.Skipped]; where all fail, the error tells about each.
func (c *Client) Open(ctx context.Context, cfg *Config) (*Index, error) {
	parts := make([]*part, len(cfg.Repositories))
	g, ctx := errgroup.WithContext(ctx)
	for i, r := range cfg.Repositories {
		g.Go(func() (err error) {
			parts[i], err = c.openRepository(ctx, cfg, r)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	x := newIndex(cfg, parts)
	if x.date.Before(c.Floor) {
		return nil, fmt.Errorf("%w: the newest Date of %s is %s, and %s was seen before: "+
			"the mirror lags behind, or serves an old state on purpose", ErrStale, cfg.Suite, stamp(x.date), stamp(c.Floor))
	}
	return x, nil
}

// part is what one repository had.
type part struct {
	release  *releaseFile
	packages map[string]entry
	skipped  []error // mirrors that failed before the one that did not
}

// openRepository tries the mirrors of r in order.
func (c *Client) openRepository(ctx context.Context, cfg *Config, r Repository) (*part, error) {
	var failed []error
	for i, m := range r.Mirrors {
		// The mirror that served the InRelease is asked for the index first;
		// the others may have it as well, which the hash decides.
		mirrors := append([]Mirror{m}, r.Mirrors[:i]...)
		mirrors = append(mirrors, r.Mirrors[i+1:]...)
		p, err := c.openMirror(ctx, cfg, r, mirrors)
		if errors.Is(err, object.ErrMismatch) {
			// The index changed after the InRelease was read: once more.
			p, err = c.openMirror(ctx, cfg, r, mirrors)
		}
		if err == nil {
			p.skipped = failed
			return p, nil
		}
		failed = append(failed, fmt.Errorf("%s (%s): %s: %w", m.URL, m.From, r.Suite, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failed...)
}

// openMirror reads the repository r from the first of mirrors.
func (c *Client) openMirror(ctx context.Context, cfg *Config, r Repository, mirrors []Mirror) (*part, error) {
	at := c.moment(cfg)
	data, err := c.Document(ctx, mirrors[0].file("dists/"+r.Suite+"/InRelease"), maxRelease)
	if err != nil {
		return nil, err
	}
	release, err := openRelease(data, mirrors[0].keys, at)
	if err != nil {
		return nil, err
	}
	if err := release.check(r.Suite, at); err != nil {
		return nil, err
	}
	p := &part{release: release, packages: map[string]entry{}}
	for _, component := range cfg.Components {
		if err := c.readComponent(ctx, p, component, r, mirrors); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readComponent adds the packages of a component to p.
func (c *Client) readComponent(ctx context.Context, p *part, component string, r Repository, mirrors []Mirror) error {
	files, err := p.release.indexes(component)
	if err != nil {
		return err
	}
	for _, f := range files {
		name, err := c.Fetch(ctx, f.urls(r.Suite, p.release.byHash, mirrors), f.ref)
		if err != nil {
			return err
		}
		err = f.read(name, func(name string, e entry) {
			e.repo = r.Repo
			keepNewest(p.packages, name, e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// moment is when dates are judged.
func (c *Client) moment(cfg *Config) time.Time {
	switch {
	case !cfg.AsOf.IsZero():
		return cfg.AsOf
	case c.Now != nil:
		return c.Now()
	}
	return time.Now()
}
