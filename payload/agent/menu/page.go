package menu

import (
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
)

const (
	// columns leaves the 80th free: some terminals begin a new line behind it.
	columns = 79
	// pageItems leaves room on 24 lines for the page's other three, for the
	// cursor's and for some that are printed meanwhile.
	pageItems = 16
)

// turn returns the page that t sees next, and turns it.
func (d *dialog) turn(now time.Duration, t *typist) []string {
	pages := (len(d.Items) + pageItems - 1) / pageItems
	page := t.page
	t.page = (page + 1) % pages
	lines := []string{clip(d.Title)}
	again := "this again"
	if pages > 1 {
		again = "the next page"
		lines[0] = clip(fmt.Sprintf("[page %d of %d] %s", page+1, pages, d.Title))
	}
	for i := page * pageItems; i < min(len(d.Items), (page+1)*pageItems); i++ {
		lines = append(lines, clip(fmt.Sprintf("  %s  %s (%s)", d.labels[i], d.Items[i].Title, d.Items[i].Name)))
	}
	return append(lines,
		fmt.Sprintf("Type a label, such as %s, and Enter. Enter alone shows %s.", d.labels[len(d.labels)-1], again),
		clip(fmt.Sprintf("Without a choice it is %s in %.0f s.", d.item(0), (d.deadline-now).Seconds())))
}

// clip returns s as it fits into a line.
func clip(s string) string {
	s = console.Clean(s)
	return s[:min(len(s), columns)]
}
