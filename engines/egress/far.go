package egress

import (
	"net/netip"
	"slices"
	"strings"
)

// Special says whether an address is one that a look-up of a name never rightly gives:
// link-local, of a cloud's metadata service, multicast, reserved, or another in disguise.
func Special(a netip.Addr) bool { return classify(a) == special }

// Private says whether an address belongs to this machine or its owner's network.
func Private(a netip.Addr) bool { return classify(a) == private }

// Metadata says whether a host is the name of a cloud's metadata service.
func Metadata(host string) bool {
	return slices.Contains(metadataNames, strings.ToLower(strings.TrimSuffix(host, ".")))
}
