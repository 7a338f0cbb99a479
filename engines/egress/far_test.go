package egress_test

import (
	"net/netip"
	"testing"

	"github.com/cabincrew/action/engines/egress"
)

func TestFar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr             string
		special, private bool
	}{
		{"169.254.169.254", true, false}, {"::ffff:169.254.169.254", true, false}, {"fe80::1", true, false},
		{"fd00:ec2::254", true, false}, {"100.100.100.200", true, false}, {"0.0.0.0", true, false},
		{"64:ff9b::a9fe:a9fe", true, false}, {"127.0.0.1", false, true}, {"::1", false, true},
		{"10.1.2.3", false, true}, {"100.64.0.1", false, true}, {"fd12::1", false, true},
		{"1.1.1.1", false, false}, {"2606:4700::1111", false, false},
	} {
		a := netip.MustParseAddr(c.addr)
		if egress.Special(a) != c.special || egress.Private(a) != c.private {
			t.Errorf("%s: special %v, private %v", a, egress.Special(a), egress.Private(a))
		}
	}
	for host, want := range map[string]bool{"metadata.google.internal": true, "Metadata.GOOG.": true, "metadata.example.org": false, "": false} {
		if egress.Metadata(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}
