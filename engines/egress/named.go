package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Named says how a host that the operator wrote is dialled.
type Named struct {
	// Private lets a public name have a private address.
	Private bool
	// ApartLoopback keeps this machine from what is not named so (localhost, 127.0.0.1):
	// neither a private name nor Private lets one have a loopback address.
	ApartLoopback bool
	Timeout       time.Duration // until a connection stands
	Resolver      *net.Resolver // nil: the system's
}

// AddressError says why an address is not connected to.
type AddressError struct{ Why string }

func (e AddressError) Error() string { return e.Why }

// Dial connects to the host. What the name turns out to be is looked at when it is
// connected to, after the look-up: a name can be moved at any time.
func (n Named) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if Metadata(host) {
		return nil, AddressError{"it is the metadata service of a cloud"}
	}
	d := net.Dialer{Timeout: n.Timeout, Resolver: n.Resolver}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return AddressError{fmt.Sprintf("%q is no address", address)}
		}
		return n.judge(host, at.Addr())
	}
	return d.DialContext(ctx, network, addr)
}

// judge says why a host may not be at an address.
func (n Named) judge(host string, a netip.Addr) error {
	switch {
	case Special(a):
		return AddressError{fmt.Sprintf("it is at the address %s, which is link-local, of a metadata service, or reserved", a)}
	case Private(a) && !n.Private && PublicName(host):
		return AddressError{fmt.Sprintf("it has a public name and is at the private address %s", a)}
	case !Private(a) && local(host):
		return AddressError{fmt.Sprintf("it has the name of this machine and is at %s", a)}
	case n.ApartLoopback && a.Unmap().IsLoopback() && !Loopback(host):
		return AddressError{fmt.Sprintf("it is at %s, which is this machine, and has not its name", a)}
	}
	return nil
}

// Loopback says whether a host is this machine by what was written.
func Loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return local(host)
}

// Far says whether a host is out in the Internet by what was written.
func Far(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return !a.IsPrivate() && !a.IsLoopback()
	}
	return PublicName(host)
}

// privateEnds are ends of names that no public look-up answers, by standard or by use.
func privateEnds() []string {
	return []string{".localhost", ".local", ".internal", ".home.arpa", ".test", ".lan", ".home", ".corp", ".intranet", ".private", ".svc"}
}

// PublicName says whether a host is a name that anybody's look-up finds. Addresses are
// not: to write one is to mean it.
func PublicName(host string) bool {
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
