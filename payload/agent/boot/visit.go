package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/trust"
)

// visit is what one site has answered.
type visit struct {
	site    string
	answers map[string]answer
	good    bool  // its manifest would be accepted, as far as its own statements lead
	err     error // of this agent, not of the site
}

// answer is one file, or why it cannot be had.
type answer struct {
	data []byte
	err  error
}

// visitAll asks all sites at once and returns where each shows up in the end.
func (b *boot) visitAll(ctx context.Context) <-chan *visit {
	arrivals := make(chan *visit, len(b.medium.Site))
	limits := b.limits // those of the boot may change meanwhile
	for _, site := range b.medium.Site {
		judge, files, v := b.judge.Clone(), b.files(site), &visit{site: site}
		guard.Go("judging a site", func() error { b.visit(ctx, limits, judge, v, files); return nil }, func(err error) {
			if err != nil { // files that break this program must not take the other sites down with it
				v.good, v.err = false, err
			}
			arrivals <- v
		})
	}
	return arrivals
}

// visit fetches what is needed to judge a site, a second time where a
// publication may have come between two of its files.
func (b *boot) visit(ctx context.Context, limits Limits, judge *accept.Judge, v *visit, files accept.Files) {
	ctx, cancel := context.WithTimeout(ctx, limits.Manifest)
	defer cancel()
	err := v.look(ctx, b, judge.Clone(), files)
	if errors.Is(err, trust.ErrUntrusted) || errors.Is(err, trust.ErrChain) || errors.Is(err, accept.ErrRollback) {
		pause(ctx, limits.Publication)
		err = v.look(ctx, b, judge, files)
	}
	v.good = err == nil
}

// look fetches anew what the judge wants to see. The error is the judge's.
func (v *visit) look(ctx context.Context, b *boot, judge *accept.Judge, files accept.Files) error {
	v.answers = map[string]answer{}
	files = v.files(files)
	if walk := judge.Walk(ctx, files); silent(walk) {
		return walk
	}
	_, err := b.judged(ctx, judge, files)
	return err
}

// files returns the site's files: as they were answered, or else as next gives them.
func (v *visit) files(next accept.Files) accept.Files {
	return func(ctx context.Context, name string, max int64) ([]byte, error) {
		if a, ok := v.answers[name]; ok {
			return a.data, a.err
		}
		data, err := next(ctx, name, max)
		v.answers[name] = answer{data, err}
		return data, err
	}
}

// from names the site in an error that does not name it yet.
func from(site string, err error) error {
	if _, named := errors.AsType[*fetch.Error](err); named {
		return err
	}
	return fmt.Errorf("%s: %w", site, err)
}

// silent tells whether err means that there is no server to talk to. One that
// answers badly where a file is missing may have the next one.
func silent(err error) bool {
	_, answered := errors.AsType[*fetch.StatusError](err)
	return !answered && (errors.Is(err, fetch.ErrUnreachable) || errors.Is(err, fetch.ErrRefused) || errors.Is(err, context.DeadlineExceeded))
}

// files fetches the small files of a site.
func (b *boot) files(site string) accept.Files {
	documents := b.documents
	return func(ctx context.Context, name string, max int64) ([]byte, error) {
		data, err := documents.Document(ctx, join(site, name), max)
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

// join returns the URL of a site's file.
func join(site, name string) string { return strings.TrimSuffix(site, "/") + "/" + name }
