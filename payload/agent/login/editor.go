package login

import "github.com/farboot/farboot/payload/password"

// Bytes that do something else than to stand in a line.
const (
	controlC  = 0x03
	backspace = 0x08
	controlU  = 0x15
	rubout    = 0x7f
)

// editor makes lines of what is typed and not shown.
type editor struct {
	text    []byte
	spoilt  bool // the line is none that could be meant
	carried bool // the last byte was a carriage return
}

// feed takes a byte. A line that is whole is the caller's to clear; one that was
// spoilt is empty. A line feed behind a carriage return is a part of that.
func (e *editor) feed(b byte) (line []byte, whole bool) {
	carried := e.carried
	e.carried = b == '\r'
	switch b {
	case '\r', '\n', controlC:
		if b == '\n' && carried {
			return nil, false
		}
		if line = e.text; e.spoilt || b == controlC {
			clear(line)
			line = nil
		}
		e.text, e.spoilt = nil, false
		return line, true
	case backspace, rubout:
		if n := len(e.text); n > 0 {
			e.text[n-1] = 0
			e.text = e.text[:n-1]
		}
	case controlU:
		e.reset()
	default:
		if e.text == nil {
			e.text = make([]byte, 0, password.MaxSize) // so that none is left behind in growing
		}
		// A byte that was received with an error is NUL, and makes no password.
		if e.spoilt = e.spoilt || b == 0 || len(e.text) == password.MaxSize; !e.spoilt {
			e.text = append(e.text, b)
		}
	}
	return nil, false
}

// reset takes back what was typed.
func (e *editor) reset() {
	clear(e.text)
	e.text, e.spoilt = e.text[:0], false
}
