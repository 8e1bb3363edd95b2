package evil

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// First applies a fault to the first n requests only.
func First(n int, fault Fault) Fault {
	return counted(fault, func(request int64) bool { return request <= int64(n) })
}

// After applies a fault to all requests but the first n.
func After(n int, fault Fault) Fault {
	return counted(fault, func(request int64) bool { return request > int64(n) })
}

// counted applies a fault to the requests that which chooses by number, from 1.
func counted(fault Fault, which func(request int64) bool) Fault {
	return func(next Source) Source {
		var asked atomic.Int64
		faulty := fault(next)
		return func(r *http.Request) *Answer {
			if which(asked.Add(1)) {
				return faulty(r)
			}
			return next(r)
		}
	}
}

// On applies a fault to requests for one path only.
func On(path string, fault Fault) Fault {
	return func(next Source) Source {
		faulty := fault(next)
		return func(r *http.Request) *Answer {
			if r.URL.Path == path {
				return faulty(r)
			}
			return next(r)
		}
	}
}

// Cut ends the connection after n bytes of the body.
func Cut(n int) Fault { return change(func(a *Answer) { a.Stop = n }) }

// Stall falls silent after n bytes of the body.
func Stall(n int) Fault { return change(func(a *Answer) { a.Stop, a.Hang = n, true }) }

// Silent takes the request and never says a word.
func Silent() Fault { return change(func(a *Answer) { a.Silent = true }) }

// Drip sends the body byte by byte, with a pause before each.
func Drip(pause time.Duration) Fault { return DripFrom(0, pause) }

// DripFrom is a Drip that begins after n bytes.
func DripFrom(n int, pause time.Duration) Fault {
	return change(func(a *Answer) { a.Fast, a.Step, a.Drip = n, 1, pause })
}

// Slow sends the body at a rate in bytes per second, ten times a second.
func Slow(rate int) Fault { return Bursts(max(rate/10, 1), time.Second/10) }

// Bursts sends n bytes of the body at a time, with a pause before each.
func Bursts(n int, pause time.Duration) Fault {
	return change(func(a *Answer) { a.Fast, a.Step, a.Drip = 0, n, pause })
}

// Late answers after a while.
func Late(pause time.Duration) Fault { return change(func(a *Answer) { a.Late = pause }) }

// CloseDelimited claims no length: the body ends with the connection. With
// [Cut] before it, the client cannot tell half a body from a whole one.
func CloseDelimited() Fault { return change(func(a *Answer) { a.Length = -1 }) }

// Chunked sends the body in chunks of 1000 bytes.
func Chunked() Fault { return change(func(a *Answer) { a.Chunked = true }) }

// Endless repeats the body for ever and claims no length.
func Endless() Fault { return change(func(a *Answer) { a.Length, a.Endless = -1, true }) }

// LyingLength claims a body of n bytes.
func LyingLength(n int64) Fault { return change(func(a *Answer) { a.Length = n }) }

// HeaderFlood sends header lines for ever.
func HeaderFlood() Fault { return change(func(a *Answer) { a.Flood = true }) }

// Flip changes one bit of the body, counted from the body's first byte.
func Flip(bit int) Fault {
	return change(func(a *Answer) {
		if bit/8 < len(a.Body) {
			a.Body[bit/8] ^= 1 << (bit % 8)
		}
	})
}

// Header sets one line of the answer's header.
func Header(key, value string) Fault {
	return change(func(a *Answer) { a.Header.Set(key, value) })
}

// ChangeETag gives each answer an ETag of its own, as if the file had changed
// in between.
func ChangeETag() Fault {
	var n atomic.Int64
	return change(func(a *Answer) { a.Header.Set("ETag", fmt.Sprintf(`"evil-%d"`, n.Add(1))) })
}

// IgnoreRange sends the whole file whatever range is asked for.
func IgnoreRange() Fault {
	return func(next Source) Source {
		return func(r *http.Request) *Answer {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
			return next(r)
		}
	}
}

// Status answers with a status and a short text instead of the content.
func Status(code int) Fault {
	return instead(code, http.Header{"Content-Type": {"text/plain"}}, http.StatusText(code)+"\n")
}

// Redirect sends the client to another place.
func Redirect(location string) Fault {
	return instead(http.StatusFound, http.Header{"Location": {location}}, "")
}

// HTML answers everything with a web page and status 200, as a captive portal
// does.
func HTML() Fault {
	return instead(http.StatusOK, http.Header{"Content-Type": {"text/html"}},
		"<!DOCTYPE html>\n<html><title>Welcome, guest</title><p>Please log in.</html>\n")
}

// change makes a Fault that alters the answer.
func change(alter func(*Answer)) Fault {
	return func(next Source) Source {
		return func(r *http.Request) *Answer {
			a := next(r)
			alter(a)
			return a
		}
	}
}

// instead makes a Fault that does not ask the handler.
func instead(status int, header http.Header, body string) Fault {
	return func(Source) Source {
		return func(*http.Request) *Answer {
			return &Answer{Status: status, Header: header.Clone(), Body: []byte(body), Length: int64(len(body)), Stop: -1}
		}
	}
}
