package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
)

// post tells the owner how far this boot has come, where the medium says so. It
// is bounded, and what fails is one line.
func (b *boot) post(ctx context.Context, outcome report.Outcome) {
	urls := b.reportTo()
	if len(urls) == 0 {
		return
	}
	b.Story.Believes(b.judge.Store().Statement().Version)
	err := b.Post(ctx, b.documents, urls, b.Story.Report(outcome, b.Identity(), b.clock.Time()))
	switch {
	case err == nil:
		b.Log("report: sent")
	case errors.Is(err, report.ErrNotTaken):
		b.Log("report: %v", err)
	default:
		b.fail("report", err)
	}
}

// reportTo lists who is to be told.
func (b *boot) reportTo() (urls []string) {
	for _, to := range b.medium.Report {
		if to == settings.ReportSite { // where none was good, the best that is left
			to = join(cmp.Or(b.site, b.mirrors.Sites()[0]), report.Path)
		}
		urls = append(urls, to)
	}
	return urls
}

// crashed is deferred where a panic may pass while there is a network: it tells
// the owner, and the panic goes on.
func (b *boot) crashed(ctx context.Context) {
	r := recover()
	if r == nil {
		return
	}
	b.Story.Fail("agent", Reason(guard.ErrCrashed), fmt.Sprint(r))
	b.post(ctx, report.Rebooting)
	panic(r)
}
