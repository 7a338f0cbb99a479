package online

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// audience is whom identity tokens for Fulcio are for.
const audience = "sigstore"

// Variables of CI systems.
const (
	envGitLab        = "SIGSTORE_ID_TOKEN"
	envGitHubURL     = "ACTIONS_ID_TOKEN_REQUEST_URL"
	envGitHubRequest = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
)

// secret is a text that no verb of fmt prints, at whatever depth it lies: methods
// of unexported fields are not called, so the text itself must not be a field.
type secret func() string

func keep(text string) secret { return func() string { return text } }

// Token is an identity token (a JWT). Printing it shows that it is one, and no more.
type Token struct{ raw secret }

// String tells nothing about the token.
func (Token) String() string { return "an identity token" }

// GoString is String, for the %#v verb.
func (t Token) GoString() string { return t.String() }

// text gives the token itself; the zero Token has none.
func (t Token) text() string {
	if t.raw == nil {
		return ""
	}
	return t.raw()
}

// NewToken takes the text of an identity token.
func NewToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	const jwtParts = 3
	parts := strings.Split(text, ".")
	bad := len(text) > limits.IdentityTokenBytes || len(parts) != jwtParts
	for _, p := range parts {
		raw, err := base64.RawURLEncoding.DecodeString(p)
		bad = bad || err != nil || len(raw) == 0
	}
	if bad {
		return Token{}, tokenError("the identity token is not a JWT")
	}
	return Token{keep(text)}, nil
}

// subject gives what Fulcio wants signed as a proof that we hold the key. The
// token is not verified here; Fulcio does that.
func (t Token) subject() (string, error) {
	_, rest, _ := strings.Cut(t.text(), ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", tokenError("the identity token is not a JWT")
	}
	var claims struct {
		Email   string `json:"email"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(raw, &claims) != nil || claims.Email+claims.Subject == "" {
		return "", tokenError("the identity token names no subject")
	}
	if claims.Email != "" {
		return claims.Email, nil
	}
	return claims.Subject, nil
}

// TokenSource gets an identity token when a signature needs one: tokens of CI
// systems live for minutes only.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
	// Describe names the source for people.
	Describe() string
}

// Given is a token that a person or a program has got themselves.
func Given(t Token) TokenSource { return given{t, "a given identity token"} }

type given struct {
	token Token
	name  string
}

func (g given) Token(context.Context) (Token, error) { return g.token, nil }
func (g given) Describe() string                     { return g.name }

// FromEnvironment finds where a CI job gets its identity token from, in variables
// that the caller hands over: GitLab's SIGSTORE_ID_TOKEN, or GitHub's
// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN. A nil transport
// is a direct one.
func FromEnvironment(env map[string]string, transport http.RoundTripper) (TokenSource, error) {
	if text := env[envGitLab]; text != "" {
		token, err := NewToken(text)
		if err != nil {
			return nil, err
		}
		return given{token, "the identity token of a GitLab job"}, nil
	}
	if env[envGitHubURL] == "" || env[envGitHubRequest] == "" {
		return nil, tokenError("this job has no identity token")
	}
	u, err := serviceURL(envGitHubURL, env[envGitHubURL])
	if err != nil {
		return nil, err
	}
	return &github{u, keep(env[envGitHubRequest]), direct(transport)}, nil
}

func tokenError(text string) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, CodeIdentityToken, "%s", text).
		WithHint("GitHub: permissions: {id-token: write}; GitLab: id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}; elsewhere: give a token")
}

type github struct {
	url       *url.URL
	request   secret // what tokens are asked for with
	transport http.RoundTripper
}

func (*github) Describe() string { return "the identity token of a GitHub job" }

// Token asks GitHub for a token.
func (g *github) Token(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.SignerTimeout)
	defer cancel()
	c := call{"the issuer of identity tokens"}
	u := *g.url
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return Token{}, c.failed(ctx, refuses("its address is none"))
	}
	req.Header.Set("Authorization", "Bearer "+g.request())
	req.Header.Set("Accept", "application/json")
	status, body, kind, bad := roundTrip(g.transport, req)
	if bad == nil && status != http.StatusOK {
		bad = &problem{text: fmt.Sprintf("it answers %d%s", status, kind)}
	}
	if bad != nil {
		return Token{}, c.failed(ctx, bad)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Value == "" {
		return Token{}, c.failed(ctx, refuses("it answers without a token"))
	}
	return NewToken(answer.Value)
}
