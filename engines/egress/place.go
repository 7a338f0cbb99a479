package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// place is a host and port in the one spelling that is compared.
type place struct {
	host string     // lower-case ASCII name, or the address as netip writes it
	addr netip.Addr // valid if the host is an address
	port uint16     // 0: not said
}

// String gives host:port, with brackets where they are needed.
func (p place) String() string {
	if p.addr.Is6() {
		return "[" + p.host + "]:" + strconv.Itoa(int(p.port))
	}
	return p.host + ":" + strconv.Itoa(int(p.port))
}

// short is String without a port that is 0 or the scheme's own.
func (p place) short(own uint16) string {
	s := p.String()
	if p.port == own || p.port == 0 {
		return s[:strings.LastIndexByte(s, ':')]
	}
	return s
}

// parsePlace reads "host" or "host:port". It takes less than RFC 3986: a host
// that two readers could take for different ones is an error.
func parsePlace(s string) (place, error) {
	host, port, err := splitPort(s)
	if err != nil {
		return place{}, err
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" {
			return place{}, errors.New("what stands in brackets is not a plain IPv6 address")
		}
		return place{host: addr.String(), addr: addr, port: port}, nil
	}
	name := strings.TrimSuffix(lowerASCII(host), ".")
	if err := checkName(name); err != nil {
		return place{}, err
	}
	if !numeric(name[strings.LastIndexByte(name, '.')+1:]) {
		return place{host: name, port: port}, nil
	}
	// Resolvers also know 127.1, 0177.0.0.1 and 2130706433; netip does not.
	addr, err := netip.ParseAddr(name)
	if err != nil || name != host {
		return place{}, errors.New("an address is written as four decimal numbers")
	}
	return place{host: addr.String(), addr: addr, port: port}, nil
}

func splitPort(s string) (host string, port uint16, err error) {
	var text string
	var given bool
	if end := strings.IndexByte(s, ']'); strings.HasPrefix(s, "[") {
		if end < 0 {
			return "", 0, errors.New("the bracket is not closed")
		}
		host = s[:end+1]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return "", 0, errors.New("something other than a port follows the bracket")
			}
			text, given = rest[1:], true
		}
	} else {
		host, text, given = strings.Cut(s, ":")
	}
	if !given {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return "", 0, errors.New("the port is not a number from 1 to 65535")
	}
	return host, uint16(n), nil
}

// checkName takes lower-case names of letters, digits, hyphen and underscore.
func checkName(name string) error {
	if name == "" || len(name) > 253 {
		return errors.New("a host has 1 to 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("a part between the dots is empty, too long, or has a hyphen at its edge")
		}
		for i := range len(label) {
			if c := label[i]; !isDigit(c) && (c < 'a' || c > 'z') && c != '-' && c != '_' {
				return fmt.Errorf("a host has no %q", label[i:i+1])
			}
		}
	}
	return nil
}

// numeric says whether some resolver would read the last label as part of an
// address: decimal, octal or hexadecimal.
func numeric(label string) bool {
	if strings.HasPrefix(label, "0x") {
		return true
	}
	for i := range len(label) {
		if !isDigit(label[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// lowerASCII leaves other letters alone: strings.ToLower makes k of the Kelvin sign.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
