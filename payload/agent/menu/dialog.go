package menu

import (
	"fmt"
	"time"
)

// dialog is a menu that is shown: bytes and the time go in, lines and in the end
// a choice come out. Times are counted from its beginning.
type dialog struct {
	Menu
	labels  []string
	typists map[string]*typist // by console

	deadline time.Duration // when the first item is taken
	end      time.Duration // what deadline never passes
	next     time.Duration // when tick has something to say

	over   bool
	chosen int    // the item, once over
	by     string // the console, if any
	alone  bool   // whether no console can be read any more
}

// typist is what is known of one console.
type typist struct {
	line     line
	page     int           // that is shown next
	answered time.Duration // when it was last answered
	greeted  bool
}

func newDialog(m Menu) *dialog {
	d := &dialog{Menu: m, labels: labels(len(m.Items)), typists: map[string]*typist{}, deadline: m.Time, end: m.Time + extra}
	d.next = d.mark(0)
	return d
}

// tick returns the news of that moment for all consoles, if any.
func (d *dialog) tick(now time.Duration) (line string) {
	switch {
	case d.over:
		return d.choice()
	case d.alone:
		d.over = true
		return fmt.Sprintf("menu: no console can be read: %s", d.item(0))
	case now >= d.deadline:
		d.over = true
		return fmt.Sprintf("menu: nobody chose: %s", d.item(0))
	case now >= d.next:
		left := d.deadline - now
		d.next = d.mark(now)
		return fmt.Sprintf("menu: %s in %.0f s; Enter shows the menu", d.item(0), left.Seconds())
	}
	return ""
}

// mark returns when there is news next: at whole minutes before the deadline,
// then at whole tens of seconds, then at 5.
func (d *dialog) mark(now time.Duration) time.Duration {
	step := 5 * time.Second
	switch left := d.deadline - now; {
	case left > time.Minute:
		step = time.Minute
	case left > 10*time.Second:
		step = 10 * time.Second
	}
	left := d.deadline - now
	return d.deadline - max(0, (left-1)/step*step)
}

// hear takes what came from a console and returns what that console is answered.
func (d *dialog) hear(now time.Duration, console string, data []byte) (answer []string) {
	t := d.typists[console]
	if t == nil {
		t = &typist{line: line{labels: d.labels}}
		d.typists[console] = t
	}
	if !t.greeted {
		t.greeted, t.answered = true, now
		answer = d.turn(now, t)
	}
	for _, b := range data {
		switch event, item := t.line.feed(b); event {
		case choice:
			d.over, d.chosen, d.by = true, item, console
			return answer
		case promising:
			d.wait(now)
		case enter:
			d.wait(now)
			if now >= t.answered+hush {
				t.answered = now
				answer = append(answer, d.turn(now, t)...)
			}
		case unclear:
			if now >= t.answered+hush {
				t.answered = now
				answer = append(answer, "menu: that is no label of this menu. Type it again, or Enter alone.")
			}
		}
	}
	return answer
}

// wait gives whoever types time to go on.
func (d *dialog) wait(now time.Duration) {
	if until := min(now+grace, d.end); until > d.deadline {
		d.deadline = until
		d.next = d.mark(now)
	}
}

// choice tells what was chosen, and where.
func (d *dialog) choice() string {
	return fmt.Sprintf("menu: %s, chosen on %s", d.item(d.chosen), d.by)
}

// item names an item in one line.
func (d *dialog) item(i int) string { return fmt.Sprintf("%s %s", d.labels[i], d.Items[i].Name) }
