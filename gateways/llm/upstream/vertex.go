package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/internal/limits"
)

const (
	// vertexVersion is the version of messages that vertex takes.
	vertexVersion = "vertex-2023-10-16"
	vertexScope   = "https://www.googleapis.com/auth/cloud-platform"
)

// vertexCall gives the path and the body of a call of vertex. Messages go to rawPredict, in
// the form that anthropic's own client gives them; chat goes to the endpoint that speaks
// OpenAI's.
func (c *Client) vertexCall(call *Call, tail string) (path string, body []byte, err error) {
	where := c.base.Path + "/v1/projects/" + c.opt.Project + "/locations/" + c.opt.Region
	version := member{"anthropic_version", `"` + vertexVersion + `"`}
	switch tail {
	case "/messages":
		if call.Model == "" || strings.ContainsAny(call.Model, "/:%? #") || call.Model == "." || call.Model == ".." {
			return "", nil, errors.New("the call names no model of vertex")
		}
		method := ":rawPredict"
		if call.Stream {
			method = ":streamRawPredict"
		}
		body, err = reshape(call.Body, []string{"model"}, version)
		return where + "/publishers/anthropic/models/" + url.PathEscape(call.Model) + method, body, err
	case "/messages/count_tokens":
		body, err = reshape(call.Body, nil, version)
		return where + "/publishers/anthropic/models/count-tokens:rawPredict", body, err
	case "/chat/completions":
		return where + "/endpoints/openapi" + tail, call.Body, nil
	default:
		return "", nil, errors.New("vertex has nothing at " + tail)
	}
}

// vertexBase is where vertex is in a region.
func vertexBase(region string) string {
	switch region {
	case "global":
		return "https://aiplatform.googleapis.com"
	case "us", "eu":
		return "https://aiplatform." + region + ".rep.googleapis.com"
	default:
		return "https://" + region + "-aiplatform.googleapis.com"
	}
}

// vertexSigns makes a call vertex's, by an access token.
func (x *exchange) vertexSigns(r *http.Request, key string) error {
	if strings.HasPrefix(key, "{") {
		token, err := x.c.tokens.get(x.ctx, key)
		if err != nil {
			return err
		}
		key = token
	}
	x.key = key
	r.Header["Authorization"] = []string{"Bearer " + key}
	return nil
}

// tokens keeps the access token that a key of Google's is exchanged for.
type tokens struct {
	client *http.Client
	life   context.Context //nolint:containedctx // an exchange is shared, and ends with the client
	now    func() time.Time

	mu   sync.Mutex
	last *exchanged // nil: there is none yet
}

// exchanged is one exchange of a key.
type exchanged struct {
	key   string
	done  chan struct{} // closed when what follows is known
	token string
	err   error
	until time.Time // when it is to be done again
}

// get gives an access token. Callers share an exchange; each leaves it when it must.
func (t *tokens) get(ctx context.Context, key string) (string, error) {
	e := t.current(key)
	select {
	case <-e.done:
		return e.token, e.err
	case <-ctx.Done():
		return "", errors.New("no access token came in time")
	}
}

// current gives the exchange whose result is to be used, and begins one if there is none.
func (t *tokens) current(key string) *exchanged {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.last; e != nil && e.key == key {
		select {
		case <-e.done:
			if t.now().Before(e.until) {
				return e
			}
		default:
			return e
		}
	}
	t.last = &exchanged{key: key, done: make(chan struct{})}
	go t.exchange(t.last)
	return t.last
}

// exchange exchanges the key for a token.
func (t *tokens) exchange(e *exchanged) {
	defer close(e.done)
	ctx, cancel := context.WithTimeout(t.life, limits.LLMUpstreamTokenTime)
	defer cancel()
	source, err := tokenSource(context.WithValue(ctx, oauth2.HTTPClient, t.client), e.key)
	var got *oauth2.Token
	if err == nil {
		got, err = source.Token()
		err = tokenError(got, err)
	}
	// Also a token that ends at once is used for a moment, or each call would exchange.
	e.until, e.err = t.now().Add(limits.LLMUpstreamTokenPause), err
	if err != nil {
		return
	}
	e.token = got.AccessToken
	if u := t.now().Add(time.Until(got.Expiry) - limits.LLMUpstreamTokenEarly); !got.Expiry.IsZero() && u.After(e.until) {
		e.until = u
	}
}

// tokenError says why there is no token, without anything that the endpoint sent.
func tokenError(got *oauth2.Token, err error) error {
	var r *oauth2.RetrieveError
	switch {
	case errors.As(err, &r) && r.Response != nil:
		return fmt.Errorf("its exchange for an access token was answered with HTTP %d", r.Response.StatusCode)
	case err != nil:
		return errors.New("it cannot be exchanged for an access token")
	case got.AccessToken == "" || len(got.AccessToken) > limits.LLMUpstreamKeyBytes || !plainValue(got.AccessToken):
		return errors.New("its exchange gave no access token")
	}
	return nil
}

// tokenSource reads a key of Google's: of a service account, or of a person as gcloud
// writes it. Others name programs and addresses to be asked, and are refused.
func tokenSource(ctx context.Context, key string) (oauth2.TokenSource, error) {
	var k struct {
		Type         string `json:"type"`
		TokenURI     string `json:"token_uri"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(key), &k); err != nil {
		return nil, errors.New("it is no JSON of a key of Google's")
	}
	if k.TokenURI != "" {
		u, err := url.Parse(k.TokenURI)
		if err != nil || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !egress.Loopback(u.Hostname())) {
			return nil, errors.New("its token_uri is not https")
		}
	}
	switch k.Type {
	case "service_account":
		c, err := google.JWTConfigFromJSON([]byte(key), vertexScope)
		if err != nil {
			return nil, errors.New("it is no key of a service account")
		}
		return c.TokenSource(ctx), nil
	case "authorized_user":
		c := oauth2.Config{ClientID: k.ClientID, ClientSecret: k.ClientSecret, Endpoint: google.Endpoint, Scopes: []string{vertexScope}}
		if k.TokenURI != "" {
			c.Endpoint.TokenURL = k.TokenURI
		}
		return c.TokenSource(ctx, &oauth2.Token{RefreshToken: k.RefreshToken}), nil
	default:
		return nil, errors.New("it is neither a key of a service account nor of an authorized user")
	}
}

// newTokens makes the exchange of keys for tokens over transports like the provider's.
func (c *Client) newTokens(t *http.Transport) *tokens {
	client := &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       limits.LLMUpstreamTokenTime,
	}
	return &tokens{client: client, life: c.life, now: c.now}
}
