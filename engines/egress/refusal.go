package egress

import (
	"fmt"
	"net/http"
	"strings"
)

// reason is a stable code of what became of a request.
type reason string

// The reasons.
const (
	malformed       reason = "request_malformed"
	userinfo        reason = "userinfo_not_allowed"
	scheme          reason = "scheme_not_allowed"
	hostNotListed   reason = "host_not_listed"
	redirect        reason = "redirect_not_listed" // host_not_listed, after an answer pointed there
	hostMismatch    reason = "host_mismatch"
	sniMismatch     reason = "sni_mismatch"
	opaque          reason = "opaque_connect"
	method          reason = "method_not_allowed"
	body            reason = "body_not_allowed"
	upgrade         reason = "upgrade_not_allowed"
	expect          reason = "expect_not_allowed"
	fieldNotAllowed reason = "field_not_allowed"
	addressPrivate  reason = "address_private"
	urlTooLong      reason = "url_too_long"
	headerTooLarge  reason = "header_too_large"
	bodyTooLarge    reason = "body_too_large"
	bufferFull      reason = "buffer_full"
	tooMany         reason = "too_many_requests"
	tooManyConns    reason = "too_many_connections"
	requestTimeout  reason = "request_timeout"
	tlsClient       reason = "tls_client"
	tlsUpstream     reason = "tls_upstream"
	unresolved      reason = "upstream_unresolved"
	unreachable     reason = "upstream_unreachable"
	upstreamTimeout reason = "upstream_timeout"
	upstreamFailed  reason = "upstream_failed"
	answerTooLarge  reason = "response_too_large"
	tunnelLimit     reason = "tunnel_limit"
	clientGone      reason = "client_gone"
)

// status gives the HTTP status that a client sees for a reason.
func (r reason) status() int {
	switch r {
	case malformed, clientGone:
		return http.StatusBadRequest
	case requestTimeout:
		return http.StatusRequestTimeout
	case urlTooLong, headerTooLarge, bodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case bufferFull, tooMany, tooManyConns:
		return http.StatusTooManyRequests
	case upstreamTimeout:
		return http.StatusGatewayTimeout
	case tlsUpstream, unresolved, unreachable, upstreamFailed, answerTooLarge:
		return http.StatusBadGateway
	default:
		return http.StatusForbidden
	}
}

// passed says whether the rules had no objection.
func (r reason) passed() bool {
	return r.reached() || r == unresolved || r == unreachable
}

// reached says whether the request, or part of it, may have reached the host.
func (r reason) reached() bool {
	return r == upstreamFailed || r == upstreamTimeout || r == answerTooLarge || r == tunnelLimit || r == clientGone
}

// refusal is why a request did not go through.
type refusal struct {
	reason reason
	text   string
	hint   string
}

func (r *refusal) Error() string { return r.text }

func refuse(r reason, format string, args ...any) *refusal {
	return &refusal{reason: r, text: fmt.Sprintf(format, args...)}
}

func (r *refusal) withHint(format string, args ...any) *refusal {
	r.hint = fmt.Sprintf(format, args...)
	return r
}

// page is the text for whoever reads the engine's log. What came from the engine
// is quoted in it.
func (r *refusal) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cabincrew: the network request did not go through: %s\n%s\n", r.reason, r.text)
	if r.hint != "" {
		b.WriteString(r.hint + "\n")
	}
	return b.String()
}

func (p *Proxy) notListed(at place) *refusal {
	code, why := hostNotListed, ""
	if p.wasTarget(at) {
		code, why = redirect, ", to which an earlier answer redirected,"
	}
	return refuse(code, "%s%s is not among the hosts that this step lists", at, why).
		withHint("add %q to the step's `hosts`, if the engine needs it", at.listed())
}

// listed is how a rule for the place is written.
func (p place) listed() string {
	if p.port == 80 {
		return p.short(80)
	}
	return p.short(443)
}
