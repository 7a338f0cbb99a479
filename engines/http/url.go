package http

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	urlCharacters = regexp.MustCompile(`^(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$`)
	hostLabels    = regexp.MustCompile(`^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	lastNumber    = regexp.MustCompile(`(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$`)
)

// parseURL takes an absolute http or https URL that every reader reads alike: what
// a person and a policy see is where the request goes.
func parseURL(raw string) (*url.URL, error) {
	if !strings.HasPrefix(raw, "http://") && !strings.HasPrefix(raw, "https://") {
		return nil, errors.New("it must begin with https:// or http://")
	}
	if strings.Contains(raw, "#") {
		return nil, errors.New("it has a fragment, which is never sent")
	}
	if !urlCharacters.MatchString(raw) {
		return nil, errors.New("it has a character that no URL has; write it as %XX")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	if u.User != nil || strings.Contains(u.Host, "@") {
		return nil, errors.New("it has a user name or password; put an Authorization header under secrets")
	}
	if err := checkHost(u); err != nil {
		return nil, err
	}
	if err := checkDots(u.EscapedPath()); err != nil {
		return nil, err
	}
	if u.String() != raw {
		return nil, fmt.Errorf("it is not in its usual form; write %s", u)
	}
	return u, nil
}

func checkHost(u *url.URL) error {
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return errors.New("its port is not one from 1 to 65535")
		}
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.String() != host || ip.Is4() == strings.HasPrefix(u.Host, "[") {
			return fmt.Errorf("its address is not in its usual form %s", ip.WithZone(""))
		}
		return nil
	}
	switch {
	case host == "":
		return errors.New("it has no host")
	case strings.HasPrefix(u.Host, "[") || lastNumber.MatchString(host):
		return errors.New("its host is neither a name nor an address in its usual form")
	case len(host) > 253 || !hostLabels.MatchString(host):
		return errors.New("its host must be a name in lower case without a dot at its end; names beyond ASCII are written xn--…")
	}
	return nil
}

// checkDots refuses paths that mean another path to some servers.
func checkDots(escaped string) error {
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return errors.New("it is not a URL")
	}
	for elem := range strings.FieldsFuncSeq(plain, func(c rune) bool { return c == '/' || c == '\\' }) {
		if elem == "." || elem == ".." {
			return errors.New("its path has an element . or .., which not every server takes alike")
		}
	}
	return nil
}

// loopback says whether a host is this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}
