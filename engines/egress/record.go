package egress

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

// Request is what became of one request of the engine: evidence, policy input
// and audit event.
type Request struct {
	Method string `json:"method"`
	// URL is complete but for user information; of a tunnel or a refused CONNECT
	// it is host:port. It is empty where none could be read, and cut at the limit.
	URL  string `json:"url"`
	Host string `json:"host"` // without port
	// Allowed says that the rules let it pass, whether or not it then succeeded.
	Allowed bool `json:"allowed"`
	// Reason is a stable code of why it was refused or not completed, or empty.
	Reason string `json:"reason"`
	Status int    `json:"status"` // what the client was answered; 0: nothing, or a tunnel
	// Sent counts what left: URL, header fields and body; or the bytes into a tunnel.
	Sent int64 `json:"sent"`
	// Received counts the bytes of the answer's body, or those out of a tunnel.
	Received int64 `json:"received"`
}

// Requests gives what was recorded so far, in the order of Observe: at most
// Limits.Requests and one that says too_many_requests. It is complete when Serve
// has returned.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// admit counts a request and says whether its number is within the limit.
func (p *Proxy) admit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return p.count <= p.opt.Limits.Requests
}

// unadmit takes back the count of a CONNECT that is not recorded.
func (p *Proxy) unadmit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
}

// note makes the record of a request that ended with this refusal.
func (r *refusal) note(n Request, status int) Request {
	n.Reason, n.Status, n.Allowed = string(r.reason), status, r.reason.passed()
	return n
}

// record tells of one admitted request, or of the first that was not.
func (p *Proxy) record(r Request) {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	full := len(p.list) > p.opt.Limits.Requests
	if r.Reason == string(tooMany) {
		full = slices.ContainsFunc(p.list, func(o Request) bool { return o.Reason == string(tooMany) })
	}
	if !full {
		p.list = append(p.list, r)
	}
	p.mu.Unlock()
	if !full && p.opt.Observe != nil {
		p.opt.Observe(r)
	}
}

// noteRedirect remembers where an answer points, so that a refusal can say why
// the client asks there.
func (p *Proxy) noteRedirect(from *url.URL, answer *http.Response) {
	to, err := answer.Location()
	if err != nil || answer.StatusCode < 300 || answer.StatusCode > 399 {
		return
	}
	at, err := parsePlace(from.ResolveReference(to).Host)
	if err != nil {
		return
	}
	if at.port == 0 {
		at.port = defaultPort(to.Scheme)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.moved) < limits.EgressRedirects {
		p.moved[at.String()] = true
	}
}

func (p *Proxy) wasTarget(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved[at.String()]
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}
