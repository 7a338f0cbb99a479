package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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

// newTokens makes the exchange of keys for access tokens, over a transport like the
// provider's.
func (c *Client) newTokens(t *http.Transport) *shared {
	client := &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       limits.LLMUpstreamTokenTime,
	}
	s := &shared{life: c.life, now: c.now}
	s.fetch = func(ctx context.Context, key string) (token string, until, end time.Time, err error) {
		source, err := tokenSource(context.WithValue(ctx, oauth2.HTTPClient, client), key)
		if err != nil {
			return "", until, end, err
		}
		got, err := source.Token()
		if err := tokenError(got, err); err != nil {
			return "", until, end, err
		}
		if !got.Expiry.IsZero() {
			end = s.now().Add(time.Until(got.Expiry))
			until = end.Add(-limits.LLMUpstreamTokenEarly)
		}
		return got.AccessToken, until, end, nil
	}
	return s
}

// tokenError says why there is no token, without anything that the endpoint sent.
func tokenError(got *oauth2.Token, err error) error {
	var r *oauth2.RetrieveError
	switch {
	case errors.As(err, &r) && r.Response != nil && r.Response.StatusCode >= http.StatusInternalServerError:
		return awayError{fmt.Errorf("its exchange for an access token was answered with HTTP %d", r.Response.StatusCode)}
	case errors.As(err, &r) && r.Response != nil:
		return fmt.Errorf("its exchange for an access token was answered with HTTP %d", r.Response.StatusCode)
	case err != nil:
		return awayError{errors.New("it cannot be exchanged for an access token")}
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
