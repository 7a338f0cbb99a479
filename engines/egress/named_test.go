package egress

import (
	"net/netip"
	"testing"
)

// TestNamedHosts says which addresses a host that the operator wrote may turn out to have.
func TestNamedHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, address string
		private       bool // Named.Private
		plain, apart  bool // allowed as it is, and with ApartLoopback
	}{
		{"api.example.com", "93.184.216.34", false, true, true},
		{"api.example.com", "10.0.0.1", false, false, false},
		{"api.example.com", "10.0.0.1", true, true, true},
		{"api.example.com", "127.0.0.1", false, false, false},
		{"api.example.com", "127.0.0.1", true, true, false},
		{"api.example.com", "::1", true, true, false},
		{"api.example.com", "::ffff:127.0.0.1", true, true, false},
		{"api.example.com", "169.254.169.254", true, false, false},
		{"api.example.com", "fd00:ec2::254", true, false, false},
		{"api.example.com", "0.0.0.0", true, false, false},
		{"ollama", "172.18.0.2", false, true, true},
		{"ollama", "127.0.0.1", false, true, false},
		{"gpu.internal", "169.254.169.254", false, false, false},
		{"localhost", "127.0.0.1", false, true, true},
		{"localhost", "::1", false, true, true},
		{"localhost", "10.0.0.1", false, true, true},
		{"localhost", "93.184.216.34", true, false, false},
		{"LOCALHOST.", "127.0.0.1", false, true, true},
		{"127.0.0.1", "127.0.0.1", false, true, true},
		{"::1", "::1", false, true, true},
		{"10.0.0.1", "10.0.0.1", false, true, true},
		{"169.254.169.254", "169.254.169.254", true, false, false},
	} {
		a := netip.MustParseAddr(c.address)
		for apart, want := range map[bool]bool{false: c.plain, true: c.apart} {
			n := Named{Private: c.private, ApartLoopback: apart}
			if err := n.judge(c.host, a); (err == nil) != want {
				t.Errorf("%s at %s, private %v, apart %v: %v", c.host, a, c.private, apart, err)
			}
		}
	}
}
