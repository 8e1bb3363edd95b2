//go:build bench

package benchmark

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// table is printed with its first column on the left and the others on the right.
type table struct {
	title string
	rows  [][]string // the first one names the columns
}

// row adds a row.
func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table to the standard output.
func (t *table) print() {
	var width []int
	for _, r := range t.rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", t.title)
	for n, r := range t.rows {
		fmt.Fprintf(&b, "  %-*s", width[0], r[0])
		for i, cell := range r[1:] {
			fmt.Fprintf(&b, "  %*s", width[i+1], cell)
		}
		b.WriteByte('\n')
		if n == 0 {
			for _, w := range width {
				b.WriteString("  " + strings.Repeat("-", w))
			}
			b.WriteByte('\n')
		}
	}
	fmt.Fprintln(os.Stdout, b.String())
}

// seconds shows a time in the unit that it deserves.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// megabytes shows a size, in units of 1000.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// rate shows bytes per second.
func rate(n int64, d time.Duration) string {
	return fmt.Sprintf("%.1f MB/s", float64(n)/1e6/max(d.Seconds(), 1e-6))
}

// ratio shows how many times b fits into a.
func ratio[N int64 | time.Duration](a, b N) string {
	return fmt.Sprintf("%.2fx", float64(a)/max(float64(b), 1))
}
