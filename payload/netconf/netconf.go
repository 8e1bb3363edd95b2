// Package netconf is the description of a network as data: which card, which
// addresses, through which VLAN or bond. Recipes, a machine's record and a file
// on the stick hold a list of them; the agent's network takes them up.
//
// The main calls are [Decode] and [Check]. They promise that what they let pass
// can be configured as it stands: every address belongs to one host, every
// gateway has an address of its family beside it, nothing is said twice. An empty
// list is the usual network: every card, DHCP and what IPv6 routers announce.
//
// The package configures nothing and knows no machine; [Use.Kernel] writes a
// configuration down for the next kernel.
package netconf

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"

	"github.com/farboot/farboot/payload/strictjson"
)

// ErrMalformed is wrapped by the errors of [Decode] and [Check].
var ErrMalformed = errors.New("network settings")

// File is where the owner of a stick puts a list of networks for the machine that
// it is in: on the stick's EFI system partition.
const File = "farboot/networks.json"

// The bounds of a list. They are what the agent can still try in parallel.
const (
	// MaxSize bounds the text of a list, in bytes. A long one has 2000.
	MaxSize = 16 << 10
	// MaxNetworks bounds a list: each is tried on each card that it names.
	MaxNetworks = 8
	// MaxMembers bounds the patterns of a bond's members.
	MaxMembers = 16
	// MaxAddresses bounds the static addresses of one network.
	MaxAddresses = 8
	// MaxDNS is how many servers Go's resolver reads from resolv.conf.
	MaxDNS = 3
	// MinMTU and MaxMTU are what every IPv4 host must take (RFC 791), and the
	// largest frame that servers' cards agree on.
	MinMTU, MaxMTU = 576, 9216
	// MinMTU6 is what IPv6 needs (RFC 8200, section 5): below it the kernel
	// takes IPv6 off the card.
	MinMTU6 = 1280
)

// Network is one way to reach the site.
type Network struct {
	// Card names the card; zero is every wired card. With Bond it stays zero.
	Card Card `json:"card,omitzero" yaml:"card"`
	// Bond joins several cards into one.
	Bond *Bond `json:"bond,omitzero" yaml:"bond"`
	// VLAN is the 802.1Q id, 1 to 4094, over the card or the bond; 0 is none.
	VLAN int `json:"vlan,omitzero" yaml:"vlan"`
	// MTU is the largest packet in bytes; 0 leaves it to card and network.
	MTU int `json:"mtu,omitzero" yaml:"mtu"`
	// IPv4 is "dhcp" or "off". Empty is "dhcp" unless Addresses has an IPv4 one.
	IPv4 Mode `json:"ipv4,omitzero" yaml:"ipv4"`
	// IPv6 is "auto" (router advertisements, and DHCPv6 where they say so) or
	// "off". Empty is "auto" unless Addresses has an IPv6 one.
	IPv6 Mode `json:"ipv6,omitzero" yaml:"ipv6"`
	// Addresses are static, each with the length of its subnet's prefix.
	Addresses []netip.Prefix `json:"addresses,omitzero" yaml:"addresses"`
	// Gateways are the default routers, at most one of each family. They need
	// not lie in a subnet of Addresses.
	Gateways []netip.Addr `json:"gateways,omitzero" yaml:"gateways"`
	// DNS replaces the servers that the network names, tried in order.
	DNS []netip.Addr `json:"dns,omitzero" yaml:"dns"`
	// Bridge is the name of a bridge to make over the one card that Card names by
	// MAC, or over the bond: it has the addresses then, and machines that run here
	// can be on it. The agent sets it for live systems; no document can.
	Bridge string `json:"-" yaml:"-"`
	// Proxy is the HTTP proxy for all sites, "http://proxy.example:3128".
	Proxy string `json:"proxy,omitzero" yaml:"proxy"`
}

// Mode says how a family of addresses is had, see [Network].
type Mode string

// The modes. The empty Mode depends on [Network.Addresses].
const (
	DHCP Mode = "dhcp"
	Auto Mode = "auto"
	Off  Mode = "off"
)

// Card recognises cards: every field that is set must fit.
type Card struct {
	// MAC is lower case with colons. It is the only one that cannot change
	// with the kernel's order of finding cards.
	MAC string `json:"mac,omitzero" yaml:"mac"`
	// Driver is the kernel's, "ixgbe".
	Driver string `json:"driver,omitzero" yaml:"driver"`
	// Name is a pattern (path.Match) for the agent's name of the card, which is
	// the kernel's own: "eth0", "eth*".
	Name string `json:"name,omitzero" yaml:"name"`
}

// Match tells whether c names a card with these properties.
func (c Card) Match(mac, driver, name string) bool {
	fits, err := path.Match(cmp.Or(c.Name, "*"), name)
	return err == nil && fits && (c.MAC == "" || c.MAC == mac) && (c.Driver == "" || c.Driver == driver)
}

// Bond joins cards by the kernel's bonding driver. A card that fits a member of
// any bond in a list is in the first such bond and in no other network.
type Bond struct {
	// Mode is one of [BondModes].
	Mode string `json:"mode" yaml:"mode"`
	// Members name the cards. Those that are missing, or appear late, cost nothing.
	Members []Card `json:"members" yaml:"members"`
}

// BondModes are the modes of Documentation/networking/bonding.rst. The index of
// each is its number (include/uapi/linux/if_bonding.h).
func BondModes() []string {
	return []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
}

// Decode reads and checks a list.
func Decode(data []byte) ([]Network, error) {
	var list []Network
	if err := strictjson.Decode(data, MaxSize, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := Check(list); err != nil {
		return nil, err
	}
	return list, nil
}

// Modules names the kernel modules that the list needs. Nothing in a machine
// asks for them by modalias, as it does for drivers.
func Modules(list []Network) []string {
	var names []string
	for _, n := range list {
		if n.VLAN != 0 && !slices.Contains(names, "8021q") {
			names = append(names, "8021q")
		}
		if n.Bond != nil && !slices.Contains(names, "bonding") {
			names = append(names, "bonding")
		}
		if n.Bridge != "" && !slices.Contains(names, "bridge") {
			names = append(names, "bridge")
		}
	}
	return names
}

// Static returns the addresses of the family.
func (n Network) Static(v6 bool) []netip.Prefix {
	var found []netip.Prefix
	for _, a := range n.Addresses {
		if a.Addr().Is6() == v6 {
			found = append(found, a)
		}
	}
	return found
}

// Gateway returns the default router of the family; the zero Addr is none.
func (n Network) Gateway(v6 bool) netip.Addr {
	for _, g := range n.Gateways {
		if g.Is6() == v6 {
			return g
		}
	}
	return netip.Addr{}
}

// Host tells whether one host can have the address: not the unspecified one, no
// loopback, no multicast, none that is reserved (RFC 1122, section 3.2.1.3).
func Host(a netip.Addr) bool {
	if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return false
	}
	return a.Is6() || a.As4()[0] != 0 && a.As4()[0] < 240
}

// canonicalMAC tells whether s is an Ethernet card's address as sysfs shows it.
func canonicalMAC(s string) bool {
	mac, err := net.ParseMAC(s)
	return err == nil && len(mac) == 6 && mac.String() == s && mac[0]&1 == 0
}
