package live

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
)

// ErrWord says that a word of the kernel's command line cannot be used.
var ErrWord = errors.New("a word of the kernel's command line")

// prefix is how the words begin.
const prefix = "farboot.live."

// Words returns the entry as the kernel's command line changes it, and the network
// that this asks for, nil where it asks for none. Only words that the entry lists
// count:
//
//	farboot.live.hostname=xen1
//	farboot.live.timezone=Europe/Vienna
//	farboot.live.network=192.0.2.7/24,192.0.2.1,192.0.2.53   address, gateway, DNS servers
//	farboot.live.password=$6$...                             root's, as crypt(5) has it
//	farboot.live.ssh=off
//
// One that is not listed, not known or malformed is [ErrWord], and with it there is
// no entry: who wrote it meant something, and be it to keep people out.
func Words(x manifest.Live, cmdline string) (manifest.Live, *netconf.Network, error) {
	var network *netconf.Network
	for word := range strings.FieldsSeq(cmdline) {
		rest, ok := strings.CutPrefix(word, prefix)
		if !ok {
			continue
		}
		name, value, ok := strings.Cut(rest, "=")
		if !ok || value == "" || !slices.Contains(x.Words, name) {
			return manifest.Live{}, nil, fmt.Errorf("%w: %s%.20q, which the entry does not allow", ErrWord, prefix, name)
		}
		var err error
		switch name {
		case "hostname":
			x.Hostname, err = value, manifest.CheckHostname(value)
		case "timezone":
			x.Timezone, err = value, manifest.CheckTimezone(value)
		case "password":
			x.Password, err = value, manifest.CheckPassword(value)
		case "ssh":
			if x.SSH = nil; value != "off" {
				err = errors.New(`want "off"`)
			}
		case "network":
			network, err = parseNetwork(value)
		}
		if err != nil {
			return manifest.Live{}, nil, fmt.Errorf("%w: %s%s: %w", ErrWord, prefix, name, err)
		}
	}
	return x, network, nil
}

// parseNetwork reads an address with the length of its prefix, a gateway, and DNS
// servers, each of one family or none.
func parseNetwork(text string) (*netconf.Network, error) {
	const want = "want ADDRESS/LENGTH[,GATEWAY[,DNS...]]"
	parts := strings.Split(text, ",")
	address, err := netip.ParsePrefix(parts[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", want, err)
	}
	n := &netconf.Network{Addresses: []netip.Prefix{address}, IPv6: netconf.Off}
	if address.Addr().Is6() {
		n.IPv4, n.IPv6 = netconf.Off, ""
	}
	for i, part := range parts[1:] {
		a, err := netip.ParseAddr(part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", want, err)
		}
		if i == 0 {
			n.Gateways = []netip.Addr{a}
		} else {
			n.DNS = append(n.DNS, a)
		}
	}
	return n, netconf.Check([]netconf.Network{*n})
}
