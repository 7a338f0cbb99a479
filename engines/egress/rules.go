package egress

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// rule is one line of what is listed.
type rule struct {
	place
	below bool // any name below host, not host itself
}

type rules []rule

// match says whether the place, whose port is known, is listed. An address is
// only ever listed as that address.
func (r rules) match(p place) bool {
	return slices.ContainsFunc(r, func(l rule) bool {
		switch {
		case l.port == 0 && p.port != 443 && p.port != 80, l.port != 0 && l.port != p.port:
			return false
		case l.below:
			return !p.addr.IsValid() && strings.HasSuffix(p.host, "."+l.host)
		default:
			return l.host == p.host && l.addr == p.addr
		}
	})
}

// names says whether exactly this host is listed, whatever the port.
func (r rules) names(host string) bool {
	return slices.ContainsFunc(r, func(l rule) bool { return !l.below && l.host == host })
}

// has says whether this address is listed.
func (r rules) has(a netip.Addr) bool {
	return slices.ContainsFunc(r, func(l rule) bool { return l.addr.IsValid() && l.addr == a })
}

func compile(texts []string, read func(string) (rule, error)) (rules, error) {
	out := make(rules, 0, len(texts))
	for _, s := range texts {
		r, err := read(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// CheckHost says what is wrong with an element of Options.Hosts.
func CheckHost(pattern string) error { _, err := hostRule(pattern); return err }

// CheckTunnel says what is wrong with an element of Options.Tunnels.
func CheckTunnel(pattern string) error { _, err := tunnelRule(pattern); return err }

// CheckPrivate says what is wrong with an element of Options.Private.
func CheckPrivate(host string) error { _, err := privateRule(host); return err }

func hostRule(s string) (rule, error) {
	const form = "write example.com, *.example.com, 192.0.2.7 or [2001:db8::7], with :port if it is not 443 or 80"
	text, below := strings.CutPrefix(s, "*.")
	p, err := exactPlace("egress_host", s, text, form)
	if err != nil {
		return rule{}, err
	}
	if below && (p.addr.IsValid() || !strings.Contains(p.host, ".")) {
		return rule{}, protocol.Errorf(protocol.ExitUsage, "egress_host", "%q is not a pattern of hosts: below *. stands a name of two parts or more", clip(s)).WithHint(form)
	}
	return rule{place: p, below: below}, nil
}

func tunnelRule(s string) (rule, error) {
	const form = "write host:port, such as git.example.com:22"
	p, err := exactPlace("egress_tunnel", s, s, form)
	if err != nil {
		return rule{}, err
	}
	if p.port == 0 {
		return rule{}, protocol.Errorf(protocol.ExitUsage, "egress_tunnel", "the tunnel %q has no port", clip(s)).WithHint(form)
	}
	return rule{place: p}, nil
}

func privateRule(s string) (rule, error) {
	const form = "write the exact name of the host, or the address, without a port"
	p, err := exactPlace("egress_private", s, s, form)
	if err != nil {
		return rule{}, err
	}
	if p.port != 0 {
		return rule{}, protocol.Errorf(protocol.ExitUsage, "egress_private", "%q has a port", clip(s)).WithHint(form)
	}
	return rule{place: p}, nil
}

// exactPlace reads the text of a rule and wants it in the spelling that is
// compared, so that people and reviews see what counts.
func exactPlace(code, whole, text, form string) (place, error) {
	bad := func(why string) error {
		hint := form
		if nonASCII(text) {
			hint = "write a name with other letters in its ASCII form, which begins with xn--"
		}
		return protocol.Errorf(protocol.ExitUsage, code, "%q is not a host: %s", clip(whole), why).WithHint("%s", hint)
	}
	p, err := parsePlace(text)
	if err != nil {
		return place{}, bad(err.Error())
	}
	if spelled := p.short(0); text != spelled {
		return place{}, bad("write it as " + spelled)
	}
	if p.addr.IsValid() && (p.addr.IsUnspecified() || p.addr.IsMulticast() || p.addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		return place{}, bad("nothing has this address")
	}
	return p, nil
}

func nonASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) >= 0
}

// clip bounds what a message repeats.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
