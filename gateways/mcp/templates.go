package mcp

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const listTemplates = "resources/templates/list"

// resourceOf gives the URI of a resource that a request is about, and says whether it is
// a template's own.
func resourceOf(m *matter) (uri string, template bool) {
	params, _ := m.tree.(map[string]any)
	switch m.e.method {
	case methodRead, "resources/subscribe":
		uri, _ = params["uri"].(string)
		return uri, false
	case "completion/complete":
		ref, _ := params["ref"].(map[string]any)
		uri, _ = ref["uri"].(string)
		return uri, true
	}
	return "", false
}

// acquaintTemplates lists the templates of the server if the client did not yet, so that
// those which are cut out of the list are known. A server without templates has none.
func (s *session) acquaintTemplates(ctx context.Context, m *matter) {
	uri, _ := resourceOf(m)
	if uri == "" || s.unlisted(kindTemplate) {
		return
	}
	if _, whole := s.known(kindTemplate, ""); whole {
		return
	}
	err := s.ownList(ctx, m.e, kindTemplate, listTemplates)
	switch {
	case err == nil:
	case errors.Is(err, errRefused):
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.books[kindTemplate] == nil {
			s.books[kindTemplate] = &book{whole: true}
		}
	case s.g.o.Pins != nil:
		s.g.o.Log.Warn("the gateway cannot list what the server has", "list", listTemplates, "error", err)
		m.unknown = "what templates the server has cannot be known: " + err.Error()
	}
}

// checkTemplate says what becomes of a resource that a template of the server makes: it
// is reached as the mildest template that makes it may be called. What no template makes,
// or a list of resources has, is no template's.
func (s *session) checkTemplate(m *matter) *protocol.PolicyEvaluation {
	uri, own := resourceOf(m)
	if uri == "" {
		return nil
	}
	m.e.entry = nil
	if m.unknown != "" {
		ev := evaluation(m, policyPins, protocol.Deny, m.unknown)
		return &ev
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books[kindTemplate]
	if b == nil || s.resources[uri] {
		return nil
	}
	var found *entry
	mildest := protocol.Deny
	for name, e := range b.entries {
		d := s.decide(e)
		switch {
		case e.hidden:
			d = protocol.Deny
		case e.approved:
			d = protocol.Allow
		}
		cut := d == protocol.Deny
		if own && name != uri && !(cut && mayMake(name, uri)) || !own && (cut && !mayMake(name, uri) || !cut && !makes(name, uri)) {
			continue
		}
		if found == nil || d.Severity() < mildest.Severity() || d == mildest && name < found.name {
			found, mildest = e, d
		}
	}
	if found == nil || mildest == protocol.Allow {
		return nil
	}
	why := "is hidden"
	if !found.hidden {
		why = "is " + found.known()
	}
	ev := evaluation(m, policyPins, mildest, "the template "+found.name+" that makes this resource "+why)
	m.diff = found.Diff
	now := *found
	m.e.entry = &now
	return &ev
}

// learnResources notes what resources the server listed: they are there without any
// template.
func (s *session) learnResources(m *matter) {
	if m.e.method != "resources/list" || m.phase != gateways.PhaseResponse {
		return
	}
	result, _ := m.tree.(map[string]any)
	list, _ := result["resources"].([]any)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range list {
		item, _ := one.(map[string]any)
		uri, _ := item["uri"].(string)
		if uri == "" || len(uri) > limits.MCPGuardURI || len(s.resources) >= limits.MCPGuardEntries {
			continue
		}
		if s.resources == nil {
			s.resources = map[string]bool{}
		}
		s.resources[uri] = true
	}
}

// part is one of a template: a text, or an expression.
type part struct {
	text string
	any  bool // an expression
	deep bool // it may be empty or reach over slashes
}

// parts takes a template apart. SPEC: RFC 6570
func parts(template string) (out []part) {
	for template != "" {
		from := strings.IndexByte(template, '{')
		to := strings.IndexByte(template, '}')
		if from < 0 || to < from {
			return append(out, part{text: template})
		}
		if from > 0 {
			out = append(out, part{text: template[:from]})
		}
		name := template[from+1 : to]
		out = append(out, part{any: true, deep: name == "" || strings.ContainsAny(name[:1], "+#./;?&") || strings.ContainsAny(name, "*,")})
		template = template[to+1:]
	}
	return out
}

// makes says whether a template makes a URI: what stands for a name is not empty and
// has no slash.
func makes(template, uri string) bool { return !odd(uri) && fits(parts(template), uri, false) }

// odd says whether a URI may become another when it is read: servers resolve dots and
// drop what a URI does not have.
func odd(uri string) bool {
	plain, err := url.PathUnescape(uri)
	if err != nil || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) || strings.TrimSpace(uri) != uri {
		return true
	}
	for step := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '?' || r == '#' }) {
		if step == "." || step == ".." {
			return true
		}
	}
	return oddHost(uri)
}

// oddHost says whether the scheme and the host of a URI may be written in another way, as
// those who read URLs for browsers do: an empty port or user goes, the port of the scheme
// too, slashes come, and hosts become ASCII or four numbers. SPEC: url.spec.whatwg.org
func oddHost(uri string) bool {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || strings.ContainsAny(scheme, "/?#") {
		return false // it is relative, and stays so
	}
	port, special := map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21", "file": ""}[strings.ToLower(scheme)]
	after, slashes := strings.CutPrefix(rest, "//")
	if !slashes {
		return special
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	host := after[:end]
	if special && strings.EqualFold(scheme, "file") {
		return host != ""
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' || r == '@' || r == '%' }) || special && host == "" {
		return true
	}
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		number := host[at+1:]
		if number == "" || number[0] == '0' || special && number == port {
			return true
		}
		host = host[:at]
	}
	last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]
	if !special || last == "" || last[0] < '0' || last[0] > '9' {
		return strings.HasPrefix(host, "[") && !plainAddress(strings.Trim(host, "[]"))
	}
	return !plainAddress(host)
}

// plainAddress says whether an address is written as its shortest form.
func plainAddress(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.String() == host
}

// mayMake says whether somebody may read a URI as one that a template makes: whatever
// stands for an expression, in other case, or percent-encoded.
func mayMake(template, uri string) bool {
	if len(template) > limits.MCPGuardURI || len(uri) > limits.MCPGuardURI || odd(uri) {
		return true
	}
	template, uri = strings.ToLower(template), strings.ToLower(uri)
	if fits(parts(template), uri, true) {
		return true
	}
	plain, err := url.PathUnescape(template)
	if err != nil {
		plain = template
	}
	again, err := url.PathUnescape(uri)
	return err != nil || fits(parts(plain), again, true)
}

// fits matches a URI with a template. at holds every place that the parts so far may end
// at, so that it takes no longer than their product.
func fits(list []part, uri string, loose bool) bool {
	if len(list) > limits.MCPGuardTemplateParts || len(uri) > limits.MCPGuardURI {
		return loose
	}
	at := make([]bool, len(uri)+1)
	at[0] = true
	for _, p := range list {
		next := make([]bool, len(uri)+1)
		open := false // an expression is being read
		for i := range at {
			switch {
			case !p.any:
				if at[i] && strings.HasPrefix(uri[i:], p.text) {
					next[i+len(p.text)] = true
				}
				continue
			case open:
				open = loose || p.deep || uri[i-1] != '/'
				next[i] = open
			}
			if at[i] {
				open = true
				next[i] = next[i] || loose || p.deep
			}
		}
		if at = next; !slices.Contains(at, true) {
			return false
		}
	}
	return at[len(uri)]
}
