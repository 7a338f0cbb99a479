package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/cabincrew/action/internal/limits"
)

// Local is the name of a client that nobody asked who it is.
const Local = "local"

// Token is a bearer token, known by its digest alone.
type Token struct {
	Name   string
	SHA256 string // of its bytes, in hex
}

// Options say who may come in. With none of Tokens, Issuers and Certificates, everybody
// may, as Local.
type Options struct {
	Tokens  []Token
	Issuers []*Issuer
	// Certificates lets a client certificate that the listener verified name the client.
	Certificates bool
	// Now tells the time.
	Now func() time.Time
}

// Gate tells clients apart. It may be used by many goroutines.
type Gate struct {
	options Options
	tokens  []token
	life    *life
}

type token struct {
	name string
	sum  [sha256.Size]byte
}

// New makes a Gate.
func New(o Options) (*Gate, error) {
	g := &Gate{options: o, life: newLife()}
	for _, t := range o.Tokens {
		sum, err := hex.DecodeString(t.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("the digest of the token %q is no SHA-256 in hex", t.Name)
		}
		g.tokens = append(g.tokens, token{t.Name, [sha256.Size]byte(sum)})
	}
	return g, nil
}

// Close breaks off what asks issuers for keys, and waits for its end. Tokens whose keys
// are not known then are refused.
func (g *Gate) Close() { g.life.close() }

// Open says whether everybody may come in.
func (g *Gate) Open() bool {
	return len(g.tokens) == 0 && len(g.options.Issuers) == 0 && !g.options.Certificates
}

// Refusal is why a client may not come in. Its text holds nothing of what the client sent.
type Refusal struct { //nolint:errname // it is an answer first
	Status    int    // 401, 403 or 503
	Challenge string // WWW-Authenticate
	Why       string
}

func (r *Refusal) Error() string { return r.Why }

// Authenticate names the client of a request: "token:NAME", "oidc:ISSUER#NAME" or
// "cert:NAME", so that no kind of client can take the name of another. An error is a
// *Refusal, which names the metadata (RFC 9728) of the resource that was asked for, if it
// has any: MetadataURL gives their URL. It is the caller's to say, since what the request
// says of its host is the client's word.
func (g *Gate) Authenticate(r *http.Request, metadata string) (string, error) {
	if g.Open() {
		return Local, nil
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		if name, ok := g.certificate(r); ok {
			return name, nil
		}
		return "", refuse(metadata, "", "no credentials were given")
	}
	scheme, value, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || value == "" || len(value) > limits.IdentityToken || strings.ContainsFunc(value, notToken) {
		return "", refuse(metadata, "invalid_request", "the Authorization header is not one bearer token")
	}
	if name, ok := g.known(value); ok {
		return name, nil
	}
	return g.issued(r, metadata, value)
}

// known compares with every token, so that the time taken says nothing of any.
func (g *Gate) known(value string) (string, bool) {
	sum := sha256.Sum256([]byte(value))
	name, found := "", 0
	for i := range g.tokens {
		if eq := subtle.ConstantTimeCompare(sum[:], g.tokens[i].sum[:]); eq == 1 {
			name, found = g.tokens[i].name, 1
		}
	}
	return "token:" + name, found == 1
}

func (g *Gate) issued(r *http.Request, metadata, value string) (string, error) {
	why := "the token is not known"
	for _, issuer := range g.options.Issuers {
		name, err := issuer.verify(r.Context(), g.life, value, g.options.Now())
		if err == nil {
			return name, nil
		}
		var refused *tokenError
		if !errors.As(err, &refused) {
			return "", &Refusal{Status: http.StatusServiceUnavailable, Why: "the keys of a token issuer cannot be had"}
		}
		if refused.mine {
			why = refused.why
		}
		if refused.scope {
			return "", &Refusal{Status: http.StatusForbidden, Challenge: challenge(metadata, "insufficient_scope"), Why: refused.why}
		}
	}
	return "", refuse(metadata, "invalid_token", why)
}

func (g *Gate) certificate(r *http.Request) (string, bool) {
	if !g.options.Certificates || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return "", false
	}
	leaf := r.TLS.PeerCertificates[0]
	name := leaf.Subject.String()
	switch {
	case len(leaf.URIs) > 0:
		name = leaf.URIs[0].String()
	case len(leaf.EmailAddresses) > 0:
		name = leaf.EmailAddresses[0]
	case len(leaf.DNSNames) > 0:
		name = leaf.DNSNames[0]
	}
	return "cert:" + name, plainName(name)
}

func refuse(metadata, code, why string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Challenge: challenge(metadata, code), Why: why}
}

// challenge names the resource's metadata, as RFC 9728 section 5.1 asks.
func challenge(metadata, code string) string {
	text := "Bearer"
	sep := " "
	if code != "" {
		text += sep + `error="` + code + `"`
		sep = ", "
	}
	if metadata != "" {
		text += sep + `resource_metadata="` + metadata + `"`
	}
	return text
}

// notToken finds what no token of RFC 6750 holds.
func notToken(c rune) bool {
	return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("-._~+/=", c))
}

// plainName accepts a name that can stand in a log as it is.
func plainName(s string) bool {
	return s != "" && len(s) <= limits.IdentityName && !strings.ContainsFunc(s, func(c rune) bool {
		return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == unicode.ReplacementChar
	})
}
