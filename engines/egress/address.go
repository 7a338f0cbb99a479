package egress

import (
	"net/netip"
	"slices"
)

// class is how far away an address is.
type class int

const (
	public  class = iota // in the Internet
	private              // this machine or its owner's network
	special              // link-local, metadata, multicast, reserved, or a disguise
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Metadata services of clouds that stand outside link-local networks; they hand
// out credentials to whoever asks.
var metadata = prefixes(
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure; a public address that means the host
	"192.0.0.192/32",     // Oracle
	"fd00:ec2::/32",      // AWS
	"fd20:ce::254/128",   // Google
)

// What IANA's registries of special-purpose addresses keep out of the Internet.
var (
	privateNets = prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8",
		"100.64.0.0/10", "198.18.0.0/15", // shared; benchmarks, and many VPNs
		"::1/128", "fc00::/7",
	)
	specialNets = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"2001::/23", "2001:db8::/32", "3fff::/20", // Teredo is in the first
		"2002::/16", // 6to4
	)
	internet6 = netip.MustParsePrefix("2000::/3")
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
)

// metadataNames are looked up by cloud libraries; a resolver of the cloud knows them.
var metadataNames = []string{
	"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
}

// classify says what an address is. An address that carries another is never
// nearer than what it carries.
func classify(a netip.Addr) class {
	if a.Zone() != "" || !a.IsValid() {
		return special
	}
	a = a.Unmap()
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(metadata, in), slices.ContainsFunc(specialNets, in):
		return special
	case slices.ContainsFunc(privateNets, in):
		return private
	case a.Is4():
		return public
	}
	b := a.As16()
	tail := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case nat64.Contains(a):
		if classify(tail) != public {
			return special
		}
		return public
	case !internet6.Contains(a):
		return special // also ::a.b.c.d, 64:ff9b:1::/48, ::ffff:0:a.b.c.d, fe80::/10, ff00::/8
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe && classify(tail) != public:
		return special // ISATAP
	}
	return public
}

// allows says whether a host that was looked up may be at this address.
func (p *Proxy) allows(host string, a netip.Addr) bool {
	a = a.Unmap()
	if p.private.has(a) && a.Zone() == "" {
		return true
	}
	if slices.Contains(metadataNames, host) && !p.private.names(host) {
		return false
	}
	switch classify(a) {
	case public:
		return true
	case private:
		return p.private.names(host)
	default:
		return false
	}
}
