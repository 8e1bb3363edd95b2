// Package menu lets somebody at a console choose what a machine boots, for a
// bounded time, on all consoles at once.
//
// The main call is [Choose]:
//
//	What shall this machine boot?
//	  1b  Debian 12 installer (debian)
//	  2c  Rescue system (rescue)
//	Type a label, such as 2c, and Enter. Enter alone shows this again.
//	Without a choice it is 1b debian in 30 s.
//
// The package promises that whatever is typed does nothing but choose one of the
// listed items, and that the menu ends in a bounded time, also on a line full of
// noise, see [Menu.Time]. A console that does not read holds up neither the menu
// nor the other consoles.
//
// A choice is a label and Enter, on a line of its own. A label is the item's
// number and a letter that follows from it, and all labels of a menu are of one
// length: a byte that the line loses, doubles, swaps with its neighbour or turns
// into another one makes no other label of it. Anything else on the line spoils
// it, up to the next Enter, and so do cursor keys, of whose sequences a bad line
// cuts off the ESC. Nothing can be edited: what went wrong is typed again.
//
// Output is plain lines of at most 79 printable characters, on pages that fit
// into 24 lines: there is no control sequence that a bad line could cut in half,
// and what screen(1) or a collector of serial logs keeps can be read. Keys are
// not echoed, since on a line that answers with what it is sent the echo would
// be typed again.
//
// It knows neither manifests nor consoles' modes: those are boot's and package
// console's.
package menu

import (
	"context"
	"errors"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
)

const (
	// grace is how long somebody who has just typed is waited for: the time to
	// read a page and to type a label.
	grace = 20 * time.Second
	// extra bounds what typing, or noise, can add to a menu's time in all.
	extra = 2 * time.Minute
	// hush is how long a console is not answered again, however much is typed:
	// a page takes 1.5 s at 9600 baud, and what is queued delays what comes after.
	hush = 2 * time.Second
	// leave is how long the consoles are waited for to be deaf again.
	leave = time.Second
)

// ErrEmpty says that there is nothing to choose from.
var ErrEmpty = errors.New("the menu is empty")

// Item is what can be chosen.
type Item struct{ Name, Title string }

// Menu is what to choose from.
type Menu struct {
	Title string // one line above the items
	Items []Item // in order; the first is taken when nobody chooses
	// Time is how long a choice is waited for. Who types gets at least 20 s more,
	// but a menu never takes more than 2 minutes beyond its time.
	Time time.Duration
}

// Choose shows m on the consoles of c until one of its items is chosen or its
// time is over. It returns the item's name and the console it was chosen on
// ("ttyS0"), which is empty where nobody chose and the first item is taken. It
// says on all consoles what was chosen. Where no console can be read it takes the
// first item at once. The error is [ErrEmpty] or that of ctx.
func Choose(ctx context.Context, c *console.Console, m Menu) (name, by string, err error) {
	listening, deafen := context.WithCancel(ctx)
	defer deafen()
	heard := c.Listen(listening)
	name, by, err = choose(ctx, screen{all: func(line string) { c.Printf("%s", line) }, one: c.Show}, heard, m)
	deafen()
	expired := time.After(leave)
	for open := true; open; {
		select {
		case _, open = <-heard:
		case <-expired:
			return name, by, err // a driver that hangs
		}
	}
	return name, by, err
}

// screen prints on all consoles, or lines on one.
type screen struct {
	all func(line string)
	one func(console string, lines ...string)
}

// choose is Choose without consoles.
func choose(ctx context.Context, s screen, heard <-chan console.Heard, m Menu) (name, by string, err error) {
	if len(m.Items) == 0 {
		return "", "", ErrEmpty
	}
	start, d := time.Now(), newDialog(m)
	for {
		now := time.Since(start)
		if line := d.tick(now); line != "" {
			s.all(line)
		}
		if d.over {
			return m.Items[d.chosen].Name, d.by, nil
		}
		wake := time.NewTimer(d.next - now)
		select {
		case h, ok := <-heard:
			if d.alone = !ok; ok {
				s.one(h.Console, d.hear(time.Since(start), h.Console, h.Data)...)
			}
		case <-wake.C:
		case <-ctx.Done():
		}
		if wake.Stop(); ctx.Err() != nil {
			return "", "", ctx.Err()
		}
	}
}
