package network

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// wire is a packet connection with a scripted DHCP server at its other end.
type wire struct {
	answer  func(packet []byte) [][]byte
	packets chan []byte
	closed  chan struct{}
	sent    []time.Time
}

func newWire(answer func(*dhcpv4.DHCPv4) [][]byte) *wire {
	return wireOf(func(p []byte) [][]byte {
		request, err := dhcpv4.FromBytes(p)
		if err != nil {
			panic(err)
		}
		return answer(request)
	})
}

func wireOf(answer func([]byte) [][]byte) *wire {
	return &wire{answer: answer, packets: make(chan []byte, 16), closed: make(chan struct{})}
}

func (w *wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	w.sent = append(w.sent, time.Now())
	for _, packet := range w.answer(p) {
		w.packets <- packet
	}
	return len(p), nil
}

func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case packet := <-w.packets:
		if packet == nil {
			panic("slice bounds out of range, as in GO-2026-6237")
		}
		return copy(p, packet), &net.UDPAddr{}, nil
	case <-w.closed:
		return 0, nil, os.ErrClosed
	}
}

func (w *wire) Close() error                     { close(w.closed); return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// reply makes the server's answer of the given type.
func reply(t *testing.T, request *dhcpv4.DHCPv4, kind dhcpv4.MessageType, options ...dhcpv4.Option) []byte {
	m, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)), dhcpv4.WithServerIP(net.IPv4(10, 0, 2, 2)))
	if err != nil {
		t.Error(err)
		return nil
	}
	m.UpdateOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 2, 2)))
	for _, o := range options {
		m.UpdateOption(o)
	}
	return m.ToBytes()
}

// friendly is a server that works.
func friendly(t *testing.T, request *dhcpv4.DHCPv4) [][]byte {
	kind := dhcpv4.MessageTypeOffer
	if request.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	return [][]byte{reply(t, request, kind, mask24(), dhcpv4.OptRouter(net.IPv4(10, 0, 2, 2)))}
}

func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(r *dhcpv4.DHCPv4) [][]byte { return friendly(t, r) })
		l, err := exchange(t.Context(), w, mac, Lease{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.String(), "10.0.2.15/24 via 10.0.2.2"; got != want {
			t.Errorf("lease %q, want %q", got, want)
		}
	})
}

// Garbage, packets that make the library panic, foreign answers and requests on
// the wire do not keep a good answer from being heard.
func TestExchangeAmongRogues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(r *dhcpv4.DHCPv4) [][]byte {
			foreign := *r
			foreign.TransactionID[0]++
			rogue := [][]byte{nil, {}, []byte("garbage"), r.ToBytes(), reply(t, &foreign, dhcpv4.MessageTypeAck), nil}
			return append(rogue, friendly(t, r)...)
		})
		if l, err := exchange(t.Context(), w, mac, Lease{}); err != nil || l.Addresses[0].String() != "10.0.2.15/24" {
			t.Errorf("lease %s, %v", l, err)
		}
	})
}

// A silent network is asked again after 1, 2 and 4 s and given up after 8 more.
func TestExchangeSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := newWire(func(*dhcpv4.DHCPv4) [][]byte { return nil })
		if _, err := exchange(t.Context(), w, mac, Lease{}); !errors.Is(err, errSilence) {
			t.Errorf("error %v, want %v", err, errSilence)
		}
		var after []time.Duration
		for _, at := range w.sent {
			after = append(after, at.Sub(start))
		}
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}
		if len(after) != len(want) {
			t.Fatalf("asked after %v, want %v", after, want)
		}
		for i := range want {
			if after[i] != want[i] {
				t.Errorf("asked after %v, want %v", after, want)
			}
		}
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("gave up after %v, want 15 s", took)
		}
	})
}

func TestExchangeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(r *dhcpv4.DHCPv4) [][]byte {
			if r.MessageType() == dhcpv4.MessageTypeDiscover {
				return friendly(t, r)
			}
			return [][]byte{reply(t, r, dhcpv4.MessageTypeNak, dhcpv4.OptMessage("no\x1b[2J room"))}
		})
		_, err := exchange(t.Context(), w, mac, Lease{})
		if err == nil || !strings.Contains(err.Error(), `"no\x1b[2J room"`) {
			t.Errorf("a NAK became %v, want its message quoted", err)
		}
		w = newWire(func(r *dhcpv4.DHCPv4) [][]byte {
			packet := friendly(t, r)[0]
			copy(packet[16:20], []byte{127, 0, 0, 1}) // yiaddr
			return [][]byte{packet}
		})
		if l, err := exchange(t.Context(), w, mac, Lease{}); err == nil {
			t.Errorf("an offer of 127.0.0.1 became %s", l)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		w = newWire(func(*dhcpv4.DHCPv4) [][]byte { return nil })
		if _, err := exchange(ctx, w, mac, Lease{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}

// A lease is renewed by one REQUEST that names its address; nobody is asked to
// offer another. A server that is silent, or says no, is a failed renewal after
// at most 3 s.
func TestExchangeRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, err := exchange(t.Context(), newWire(func(r *dhcpv4.DHCPv4) [][]byte { return friendly(t, r) }), mac, Lease{})
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		again, err := exchange(t.Context(), newWire(func(r *dhcpv4.DHCPv4) [][]byte {
			asked = append(asked, r.MessageType().String()+" "+r.ClientIPAddr.String())
			return friendly(t, r)
		}), mac, held)
		if err != nil || !again.same(held) || strings.Join(asked, ", ") != "REQUEST 10.0.2.15" {
			t.Errorf("asked %q: %s, %v", asked, again, err)
		}
		start := time.Now()
		if l, err := exchange(t.Context(), newWire(func(*dhcpv4.DHCPv4) [][]byte { return nil }), mac, held); !errors.Is(err, errSilence) {
			t.Errorf("of a silent server: %s, %v", l, err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("gave up after %v, want 3 s", took)
		}
		no := newWire(func(r *dhcpv4.DHCPv4) [][]byte { return [][]byte{reply(t, r, dhcpv4.MessageTypeNak)} })
		if l, err := exchange(t.Context(), no, mac, held); err == nil {
			t.Errorf("of a server that says no: %s", l)
		}
	})
}
