package back

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/internal/limits"
)

// addressError says why an address is not connected to.
type addressError struct{ why string }

func (e addressError) Error() string { return e.why }

// guarded dials a host that the operator wrote. What the name turns out to be is looked
// at when it is connected to, after the look-up: a name can be moved at any time.
func guarded(allowPrivate bool, resolver *net.Resolver) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if egress.Metadata(host) {
			return nil, addressError{"it is the metadata service of a cloud"}
		}
		near := allowPrivate || !publicName(host)
		d := net.Dialer{Timeout: limits.MCPBackDialTime, Resolver: resolver}
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return addressError{fmt.Sprintf("%q is no address", address)}
			}
			switch a := at.Addr(); {
			case egress.Special(a):
				return addressError{fmt.Sprintf("it is at the address %s, which is link-local, of a metadata service, or reserved", a)}
			case egress.Private(a) && !near:
				return addressError{fmt.Sprintf("it has a public name and is at the private address %s", a)}
			case !egress.Private(a) && local(host):
				return addressError{fmt.Sprintf("it has the name of this machine and is at %s", a)}
			}
			return nil
		}
		return d.DialContext(ctx, network, addr)
	}
}

// privateEnds are ends of names that no public look-up answers, by standard or by use.
func privateEnds() []string {
	return []string{".localhost", ".local", ".internal", ".home.arpa", ".test", ".lan", ".home", ".corp", ".intranet", ".private", ".svc"}
}

// publicName says whether a host is a name that anybody's look-up finds. Addresses are
// not: to write one is to mean it.
func publicName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	name := "." + strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.Count(name, ".") == 1 {
		return false // of the local network, such as a service of containers
	}
	for _, end := range privateEnds() {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return true
}

// local says whether a host is this machine by its name.
func local(host string) bool {
	name := "." + strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(name, ".localhost")
}
