package menu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// letters are those that no font takes for a digit or for one another (i, l, o),
// and that are on the same key of QWERTY, QWERTZ and AZERTY keyboards (not a, m,
// q, w, y, z): on the screen the kernel takes each for an American one. Their
// number is prime, see labels.
const letters = "bcdefghjknprstuvx"

// labels returns the labels of n items: numbers from 1 of equal length, each with
// the letter of that number modulo 17. Two numbers that differ in one digit
// differ by d*10^k with d < 10, and those with two neighbours swapped by 9*d*10^k:
// 17 divides neither, so the letters differ. A lost or doubled byte makes
// another length.
func labels(n int) []string {
	width := len(strconv.Itoa(n))
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%0*d%c", width, i+1, letters[i%len(letters)])
	}
	return all
}

// event is what a byte means.
type event int

const (
	nothing   event = iota
	promising       // what was typed may become a label
	choice          // a label and Enter
	enter           // Enter alone
	unclear         // Enter behind something else
)

// line is what was typed since the last Enter.
type line struct {
	labels []string // sorted, all of one length

	typed    string // the beginning of a label
	spoiled  bool   // something else was typed
	returned bool   // the last byte was a carriage return
}

// feed takes one byte. NUL is not there: it stands for a BREAK or a byte that
// was received with an error, and telnet sends one behind each carriage return.
func (l *line) feed(b byte) (e event, item int) {
	if b == 0 {
		return nothing, 0
	}
	again := b == '\n' && l.returned // CR LF is one Enter
	l.returned = b == '\r'
	switch {
	case again, l.spoiled && b != '\r' && b != '\n':
		return nothing, 0
	case b == '\r', b == '\n':
		return l.end()
	}
	typed := l.typed + strings.ToLower(string(rune(b)))
	if i, _ := slices.BinarySearch(l.labels, typed); i == len(l.labels) || !strings.HasPrefix(l.labels[i], typed) {
		l.typed, l.spoiled = "", true
		return nothing, 0
	}
	l.typed = typed
	return promising, 0
}

// end ends the line and tells what it was.
func (l *line) end() (e event, item int) {
	typed, spoiled := l.typed, l.spoiled
	l.typed, l.spoiled = "", false
	switch i, found := slices.BinarySearch(l.labels, typed); {
	case found:
		return choice, i
	case typed == "" && !spoiled:
		return enter, 0
	}
	return unclear, 0
}
