package front

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// HostPolicy says under which names the gateway may be asked, and by which web pages.
type HostPolicy struct {
	// Hosts are names (or addresses, with or without a port) that it is reached by,
	// besides loopback's names and the address that a connection came in at.
	Hosts []string
	// Origins are web pages that may read its answers, such as https://example.com.
	Origins []string
	// Refused hears of requests that are refused; may be nil.
	Refused func(Refusal)
}

// Guarded refuses requests that a web page on another site sends through the browser of
// somebody who can reach the gateway: by a name that was made to point here (DNS
// rebinding), or from an origin that is not listed. A request without Origin comes from
// no web page, or from one of the same site.
func Guarded(h http.Handler, p HostPolicy) http.Handler {
	g := &guarded{next: h, refused: p.Refused, hosts: map[string]bool{}, origins: map[string]bool{}}
	for _, name := range p.Hosts {
		g.hosts[strings.ToLower(name)] = true
	}
	for _, o := range p.Origins {
		g.origins[strings.TrimSuffix(strings.ToLower(o), "/")] = true
	}
	return g
}

type guarded struct {
	next           http.Handler
	hosts, origins map[string]bool
	refused        func(Refusal)
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own := localAddr(r)
	if !g.host(r.Host, own) {
		tell(g.refused, r, "", ReasonHost)
		refuse(w, http.StatusForbidden, noID, codeRefused, "the gateway is not reached by this Host; it may have to be listed", nil)
		return
	}
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			tell(g.refused, r, "", ReasonOrigin)
			refuse(w, http.StatusForbidden, noID, codeRefused, "requests of other sites need an Origin that is listed", nil)
			return
		}
		g.next.ServeHTTP(w, r)
		return
	}
	listed := len(origins) == 1 && g.origins[strings.ToLower(origins[0])]
	if !listed && (len(origins) > 1 || !g.origin(origins[0], own)) {
		tell(g.refused, r, "", ReasonOrigin)
		refuse(w, http.StatusForbidden, noID, codeRefused, "this Origin is not listed", nil)
		return
	}
	if !listed {
		g.next.ServeHTTP(w, r) // without CORS headers a browser shows the answer to nobody
		return
	}
	head := w.Header()
	head.Add("Vary", "Origin")
	head.Set("Access-Control-Allow-Origin", origins[0])
	head.Set("Access-Control-Expose-Headers", "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate")
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		preflight(w, r)
		return
	}
	g.next.ServeHTTP(w, r)
}

// preflight says what pages of a listed origin may send.
func preflight(w http.ResponseWriter, r *http.Request) {
	allowed := []string{"Accept", "Authorization", "Content-Type", "Last-Event-ID", "MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name"}
	for _, list := range r.Header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if strings.HasPrefix(name, headerParam) && len(allowed) < 64 && !strings.ContainsAny(name, "\r\n") {
				allowed = append(allowed, name)
			}
		}
	}
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", strings.Join(allowed, ", "))
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// host says whether a request may name the gateway so.
func (g *guarded) host(host string, own netip.Addr) bool {
	host = strings.ToLower(host)
	name := bare(host)
	return name != "" && (g.hosts[host] || g.hosts[name] || loopback(name) || same(name, own))
}

// origin says whether a page is of this machine.
func (g *guarded) origin(origin string, own netip.Addr) bool {
	u, err := url.Parse(strings.ToLower(origin))
	if err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return g.host(u.Host, own)
}

// bare returns a host without its port, or "" if it is none.
func bare(host string) string {
	if host == "" || strings.ContainsAny(host, "/@?#\\ ") {
		return ""
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") {
		return ""
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

func loopback(name string) bool {
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback() && a.Zone() == ""
}

// same says that a host is the address that the connection came in at: a name that
// somebody else controls is none, wherever it points.
func same(name string, own netip.Addr) bool {
	a, err := netip.ParseAddr(name)
	return err == nil && own.IsValid() && a.Unmap().WithZone("") == own.Unmap().WithZone("")
}

func localAddr(r *http.Request) netip.Addr {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if local == nil {
		return netip.Addr{}
	}
	return local.AddrPort().Addr()
}
