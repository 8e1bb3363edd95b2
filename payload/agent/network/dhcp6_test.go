package network

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// reply6 makes the server's answer of the given type.
func reply6(request *dhcpv6.Message, kind dhcpv6.MessageType, valid time.Duration, addrs ...string) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: request.TransactionID}
	m.AddOption(dhcpv6.OptClientID(request.Options.ClientID()))
	m.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: mac}))
	m.AddOption(dhcpv6.OptDNS(ip("2001:db8::53", "::1", "ff02::1", "192.0.2.1", "fe80::53")...))
	ia := &dhcpv6.OptIANA{}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a), PreferredLifetime: valid, ValidLifetime: valid})
	}
	m.AddOption(ia)
	return m
}

// wire6 is a wire whose server says what answer returns, and notes the questions.
func wire6(t *testing.T, asked *[]string, answer func(*dhcpv6.Message) [][]byte) *wire {
	return wireOf(func(p []byte) [][]byte {
		m, err := dhcpv6.MessageFromBytes(p)
		if err != nil {
			t.Error(err)
			return nil
		}
		*asked = append(*asked, m.MessageType.String())
		return answer(m)
	})
}

// friendly6 is a server that works.
func friendly6(m *dhcpv6.Message) [][]byte {
	kind := dhcpv6.MessageTypeReply
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	return [][]byte{reply6(m, kind, time.Hour, "2001:db8::99").ToBytes()}
}

func TestExchange6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		ask := func(held Lease, managed bool, answer func(*dhcpv6.Message) [][]byte) (Lease, string, error) {
			asked = nil
			l, err := exchange6(t.Context(), wire6(t, &asked, answer), mac, held, managed)
			return l, strings.Join(asked, ", "), err
		}
		const want = "2001:db8::99/128, dns 2001:db8::53 fe80::53"
		held, questions, err := ask(Lease{}, true, friendly6)
		if err != nil || held.String() != want || held.Time != time.Hour || questions != "SOLICIT, REQUEST" {
			t.Errorf("%s: %s for %v, %v", questions, held, held.Time, err)
		}
		again, questions, err := ask(held, true, friendly6)
		if err != nil || !again.same(held) || questions != "REBIND" {
			t.Errorf("%s: %s, %v", questions, again, err)
		}
		rapid, questions, err := ask(Lease{}, true, func(m *dhcpv6.Message) [][]byte {
			return [][]byte{reply6(m, dhcpv6.MessageTypeReply, time.Hour, "2001:db8::99").ToBytes()}
		})
		if err != nil || rapid.String() != want || questions != "SOLICIT" {
			t.Errorf("%s: %s, %v", questions, rapid, err)
		}
		dns, questions, err := ask(Lease{}, false, friendly6)
		if err != nil || len(dns.DNS) != 2 || questions != "INFORMATION-REQUEST" {
			t.Errorf("%s: %s, %v", questions, dns, err)
		}
		start := time.Now()
		l, questions, err := ask(Lease{}, true, func(*dhcpv6.Message) [][]byte { return nil })
		if !errors.Is(err, errSilence6) || questions != "SOLICIT, SOLICIT" || time.Since(start) != 3*time.Second {
			t.Errorf("%s: %s, %v after %v", questions, l, err, time.Since(start))
		}
	})
}

// Garbage, packets that make the library panic, answers to others and ones
// without an address do not keep a good answer from being heard.
func TestExchange6AmongRogues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		w := wire6(t, &asked, func(m *dhcpv6.Message) [][]byte {
			foreign := *m
			foreign.TransactionID[0]++
			another := reply6(m, dhcpv6.MessageTypeReply, time.Hour, "2001:db8::66")
			another.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
			return append([][]byte{
				nil, {}, []byte("garbage"), m.ToBytes(), nil, another.ToBytes(),
				reply6(&foreign, dhcpv6.MessageTypeReply, time.Hour, "2001:db8::66").ToBytes(),
				reply6(m, dhcpv6.MessageTypeAdvertise, time.Hour).ToBytes(),
				reply6(m, dhcpv6.MessageTypeReply, time.Hour, "ff02::1", "::1", "fe80::1", "::ffff:10.0.0.1").ToBytes(),
				reply6(m, dhcpv6.MessageTypeReply, 0, "2001:db8::66").ToBytes(),
			}, friendly6(m)...)
		})
		l, err := exchange6(t.Context(), w, mac, Lease{}, true)
		if err != nil || l.Addresses[0].String() != "2001:db8::99/128" {
			t.Errorf("lease %s, %v", l, err)
		}
	})
}

func TestLease6Bounds(t *testing.T) {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: mac}))
	for valid, want := range map[time.Duration]time.Duration{time.Second: minTime, time.Hour: time.Hour, infinite: 0} {
		if got := newLease6(reply6(m, dhcpv6.MessageTypeReply, valid, "2001:db8::99")).Time; got != want {
			t.Errorf("a lifetime of %v became %v, want %v", valid, got, want)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}).String())
	}
	if l := newLease6(reply6(m, dhcpv6.MessageTypeReply, time.Hour, many...)); len(l.Addresses) != netconf.MaxAddresses {
		t.Errorf("100 addresses became %d", len(l.Addresses))
	}
}

// FuzzDHCPv6 feeds packets to the library's parser and to what takes a lease from
// them: no lease outside the bounds. Panics of the library are caught on the way.
func FuzzDHCPv6(f *testing.F) {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: mac}))
	f.Add(reply6(m, dhcpv6.MessageTypeReply, time.Hour, "2001:db8::99", "fe80::1", "::").ToBytes())
	f.Add([]byte{7, 1, 2, 3, 0, 3, 0, 12})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if safely(parse6, packet) != nil {
			return
		}
		m, err := dhcpv6.MessageFromBytes(packet)
		if err != nil {
			t.Fatalf("parsed once, and then not: %v", err)
		}
		l := newLease6(m)
		bounded6(t, l)
		if l.Time != 0 && l.Time < minTime {
			t.Errorf("time %v", l.Time)
		}
	})
}

// bounded6 fails where an IPv6 lease is outside the bounds.
func bounded6(t *testing.T, l Lease) {
	t.Helper()
	if len(l.Addresses) > netconf.MaxAddresses || len(l.DNS) > maxDNS || len(l.Routes) > maxPrefixes+1 {
		t.Errorf("%d addresses, %d DNS servers, %d routes", len(l.Addresses), len(l.DNS), len(l.Routes))
	}
	for _, a := range l.Addresses {
		if !a.IsValid() || a.Bits() < 64 || !usable6(a.Addr()) || a.Addr().IsLinkLocalUnicast() {
			t.Errorf("address %s", a)
		}
	}
	for _, a := range l.DNS {
		if !usable6(a) {
			t.Errorf("DNS server %s", a)
		}
	}
	for _, c := range l.String() + resolvConf("eth0", l.DNS) {
		if !strings.ContainsRune("0123456789abcdef:./ ,%vinsmroptuh\n", c) {
			t.Fatalf("character %q in %q", c, l.String())
		}
	}
}

// usable6 says, in other words than host6, whether one host can have the address.
func usable6(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast())
}
