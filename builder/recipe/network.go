package recipe

import (
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/netconf"
)

// networkHint shows what most who write a network mean.
const networkHint = `for example {card: {mac: "52:54:00:12:34:56"}, addresses: [192.0.2.7/24], gateways: [192.0.2.1], dns: [192.0.2.53]}`

// networks validates the ways to reach a site.
func (v *validator) networks(at string, list []netconf.Network) {
	for i, n := range list {
		v.hinted(fmt.Sprintf("%s[%d]", at, i), networkHint, reason(netconf.Check([]netconf.Network{n})))
	}
	v.atMost(at, len(list), netconf.MaxNetworks)
}

// reason returns the last of the errors that err wraps: the place before it is
// in a list of one.
func reason(err error) error {
	if all, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		list := all.Unwrap()
		return list[len(list)-1]
	}
	return err
}
