package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cabincrew/action/gateways/identity"
	"github.com/cabincrew/action/internal/limits"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/mcp", http.NoBody)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func gate(t *testing.T, o identity.Options) *identity.Gate {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	g, err := identity.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func TestEverybodyIsLocalWithoutSettings(t *testing.T) {
	t.Parallel()
	if name, err := gate(t, identity.Options{}).Authenticate(request("Bearer x"), ""); name != identity.Local || err != nil {
		t.Error(name, err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	g := gate(t, identity.Options{Tokens: []identity.Token{{Name: "bot", SHA256: digest("s3cret")}, {Name: "other", SHA256: digest("0ther")}}})
	const meta = "https://g/.well-known/oauth-protected-resource/mcp"
	for header, want := range map[string]string{"Bearer s3cret": "token:bot", "bearer 0ther": "token:other"} {
		if name, err := g.Authenticate(request(header), ""); name != want || err != nil {
			t.Errorf("%s: %s, %v", header, name, err)
		}
	}
	for _, headers := range [][]string{nil, {"Bearer"}, {"Bearer "}, {"Bearer s3cre"}, {"Bearer s3cret "}, {"Basic s3cret"}, {"Bearer s3cret", "Bearer s3cret"}, {"Bearer " + digest("s3cret")}, {"Bearer " + strings.Repeat("a", limits.IdentityToken+1)}, {"Bearer s3cret\x00"}} {
		name, err := g.Authenticate(request(headers...), meta)
		var refused *identity.Refusal
		if name != "" || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || !strings.Contains(refused.Challenge, `resource_metadata="https://g/`) {
			t.Errorf("%q: %s, %v", headers, name, err)
		}
		if len(headers) > 0 && strings.Contains(refused.Error(), "s3cre") {
			t.Errorf("the refusal repeats the token: %v", refused)
		}
	}
	if _, err := identity.New(identity.Options{Tokens: []identity.Token{{Name: "x", SHA256: "abc"}}}); err == nil {
		t.Error("a digest that is none was accepted")
	}
}

// rig is an issuer with one key.
type rig struct {
	key    *ecdsa.PrivateKey
	issuer *identity.Issuer
	asked  atomic.Int64
	fail   atomic.Bool
	set    atomic.Pointer[[]byte]
}

func newRig(t *testing.T) *rig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{key: key}
	r.publish(t, jose.JSONWebKey{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"})
	r.issuer = &identity.Issuer{URL: "https://issuer.example", Audience: "gateway", Scopes: []string{"tools"}, Keys: func(context.Context) ([]byte, error) {
		r.asked.Add(1)
		if r.fail.Load() {
			return nil, errors.New("down")
		}
		return *r.set.Load(), nil
	}}
	return r
}

func (r *rig) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	r.set.Store(&raw)
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		opts = opts.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func claims(change ...any) map[string]any {
	c := map[string]any{"iss": "https://issuer.example", "aud": []string{"gateway", "else"}, "sub": "alice", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "scope": "read tools"}
	for i := 0; i < len(change); i += 2 {
		name, _ := change[i].(string)
		if change[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = change[i+1]
		}
	}
	return c
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}})
	good := sign(t, jose.ES256, r.key, "k1", claims())
	if name, err := g.Authenticate(request("Bearer "+good), ""); err != nil || name != "oidc:https://issuer.example#alice" {
		t.Fatal(name, err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for what, raw := range map[string]string{
		"audience":       sign(t, jose.ES256, r.key, "k1", claims("aud", "else")),
		"no audience":    sign(t, jose.ES256, r.key, "k1", claims("aud", nil)),
		"issuer":         sign(t, jose.ES256, r.key, "k1", claims("iss", "https://issuer.example/")),
		"expired":        sign(t, jose.ES256, r.key, "k1", claims("exp", now.Add(-2*time.Minute).Unix())),
		"no end":         sign(t, jose.ES256, r.key, "k1", claims("exp", nil)),
		"not yet":        sign(t, jose.ES256, r.key, "k1", claims("nbf", now.Add(2*time.Minute).Unix())),
		"nameless":       sign(t, jose.ES256, r.key, "k1", claims("sub", nil)),
		"name with line": sign(t, jose.ES256, r.key, "k1", claims("sub", "a\nb")),
		"other key":      sign(t, jose.ES256, stranger, "k1", claims()),
		"unknown key id": sign(t, jose.ES256, r.key, "k2", claims()),
		"symmetric":      sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), "k1", claims()),
		"unsigned":       "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"no signature":   parts[0] + "." + parts[1] + ".",
		"cut":            good[:len(good)-2],
		"junk":           "a.b.c",
	} {
		name, err := g.Authenticate(request("Bearer "+raw), "")
		var refused *identity.Refusal
		if name != "" || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			t.Errorf("%s: %s, %v", what, name, err)
		}
	}
	_, err = g.Authenticate(request("Bearer "+sign(t, jose.ES256, r.key, "k1", claims("scope", "read"))), "")
	var refused *identity.Refusal
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || !strings.Contains(refused.Challenge, "insufficient_scope") {
		t.Errorf("scope: %v", err)
	}
}

// TestKeysAreAskedForAgain rotates the issuer's key, and takes the issuer away.
func TestKeysAreAskedForAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	clock := now
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}, Now: func() time.Time { return clock }})
	ok := func(kid string, key any) error {
		_, err := g.Authenticate(request("Bearer "+sign(t, jose.ES256, key, kid, claims("exp", clock.Add(time.Hour).Unix()))), "")
		return err
	}
	if err := ok("k1", r.key); err != nil || r.asked.Load() != 1 {
		t.Fatal(err, r.asked.Load())
	}
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.publish(t, jose.JSONWebKey{Key: next.Public(), KeyID: "k2", Algorithm: "ES256"})
	if err := ok("k2", next); err == nil || r.asked.Load() != 1 {
		t.Error("an unknown key made the gateway ask at once again", err, r.asked.Load())
	}
	clock = clock.Add(limits.IdentityAgain)
	if err := ok("k2", next); err != nil || r.asked.Load() != 2 {
		t.Error("the new key was not fetched", err, r.asked.Load())
	}
	if err := ok("k1", r.key); err == nil {
		t.Error("a key that the issuer took back still counts")
	}
	r.fail.Store(true)
	clock = clock.Add(limits.IdentityFresh + time.Second)
	if err := ok("k2", next); err != nil || r.asked.Load() != 3 {
		t.Error("keys that are old but not stale do not count while the issuer is down", err, r.asked.Load())
	}
	clock = clock.Add(limits.IdentityStale)
	var refused *identity.Refusal
	if err := ok("k2", next); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Error("stale keys count", err)
	}
}

// TestKeysSurviveWhoAskedFirst: the request that begins to ask for the keys hangs up, and
// all others get in by them; nobody asks twice.
func TestKeysSurviveWhoAskedFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	began, answer := make(chan struct{}), make(chan struct{})
	r.issuer.Keys = func(ctx context.Context) ([]byte, error) {
		if r.asked.Add(1) == 1 {
			close(began)
		}
		if _, bound := ctx.Deadline(); !bound {
			t.Error("the asking is not bounded")
		}
		select {
		case <-answer:
			return *r.set.Load(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}})
	token := "Bearer " + sign(t, jose.ES256, r.key, "k1", claims())
	hurried, hangUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := g.Authenticate(request(token).WithContext(hurried), "")
		first <- err
	}()
	<-began
	hangUp()
	if err := <-first; err == nil {
		t.Error("who hung up was let in without keys")
	}
	others := make(chan error, 8)
	for range cap(others) {
		go func() {
			_, err := g.Authenticate(request(token), "")
			others <- err
		}()
	}
	close(answer)
	for range cap(others) {
		if err := <-others; err != nil {
			t.Error(err)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// TestKeysUnknownToTheIssuer: tokens that name keys of nobody, as many as one likes, make
// the gateway ask once a while; those with good keys do not wait for that.
func TestKeysUnknownToTheIssuer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	clock := now
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}, Now: func() time.Time { return clock }})
	for round := range 3 {
		for n := range 50 {
			if _, err := g.Authenticate(request("Bearer "+sign(t, jose.ES256, r.key, fmt.Sprint("k-", round, n), claims())), ""); err == nil {
				t.Fatal("a key that nobody has counts")
			}
		}
		if _, err := g.Authenticate(request("Bearer "+sign(t, jose.ES256, r.key, "k1", claims())), ""); err != nil || r.asked.Load() != int64(round+1) {
			t.Errorf("round %d: asked %d times, %v", round, r.asked.Load(), err)
		}
		clock = clock.Add(limits.IdentityAgain)
	}
}

// TestGateCloses: a gate that is closed asks no more, and waits for what it asked.
func TestGateCloses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	began := make(chan struct{})
	r.issuer.Keys = func(ctx context.Context) ([]byte, error) {
		close(began) // a second time panics
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}})
	token := "Bearer " + sign(t, jose.ES256, r.key, "k1", claims())
	first := make(chan error, 1)
	go func() {
		_, err := g.Authenticate(request(token), "")
		first <- err
	}()
	<-began
	g.Close()
	var refused *identity.Refusal
	if err := <-first; !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
	if _, err := g.Authenticate(request(token), ""); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
}

func TestMetadataURL(t *testing.T) {
	t.Parallel()
	for resource, want := range map[string]string{
		"https://g.example/mcp":           "https://g.example/.well-known/oauth-protected-resource/mcp",
		"https://g.example/mcp/files":     "https://g.example/.well-known/oauth-protected-resource/mcp/files",
		"http://127.0.0.1:3940/tools/mcp": "http://127.0.0.1:3940/.well-known/oauth-protected-resource/tools/mcp",
		"https://g.example/":              "https://g.example/.well-known/oauth-protected-resource",
		"https://u:p@g.example/mcp":       "", "https://g.example/mcp?x=1": "", "/mcp": "", "https://g\"/mcp": "",
	} {
		if got, err := identity.MetadataURL(resource); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", resource, got, err)
		}
	}
}

func TestWeakAndPrivateKeysAreNotUsed(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.publish(t, jose.JSONWebKey{Key: weak.Public(), KeyID: "k1"}, jose.JSONWebKey{Key: r.key, KeyID: "k2"}, jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "k3"})
	g := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}})
	_, err = g.Authenticate(request("Bearer "+sign(t, jose.ES256, r.key, "k2", claims())), "")
	var refused *identity.Refusal
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	g := gate(t, identity.Options{Certificates: true})
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "bot"}}
	r := request()
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	if name, err := g.Authenticate(r, ""); err == nil {
		t.Error("a certificate that nobody verified counts:", name)
	}
	r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
	if name, err := g.Authenticate(r, ""); err != nil || name != "cert:CN=bot" {
		t.Error(name, err)
	}
	leaf.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/bot"}}
	if name, err := g.Authenticate(r, ""); err != nil || name != "cert:spiffe://x/bot" {
		t.Error(name, err)
	}
}

func TestFetcher(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/tenant/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": srv.URL + "/tenant", "jwks_uri": srv.URL + "/keys"}) //nolint:errchkjson // strings encode
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server/liar", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": srv.URL, "jwks_uri": srv.URL + "/keys"}) //nolint:errchkjson // strings encode
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*r.set.Load()) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/keys", http.StatusFound) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, limits.IdentityKeys+1)) })
	if raw, err := (&identity.Fetcher{Client: srv.Client(), Issuer: srv.URL + "/tenant"}).Keys(t.Context()); err != nil || len(raw) == 0 {
		t.Error(err)
	}
	for what, f := range map[string]*identity.Fetcher{
		"another issuer": {Issuer: srv.URL + "/liar"},
		"redirect":       {URL: srv.URL + "/away"},
		"large":          {URL: srv.URL + "/large"},
		"gone":           {URL: srv.URL + "/none"},
		"clear text":     {URL: "http://issuer.example/keys"},
		"no URL":         {URL: "keys"},
	} {
		f.Client = srv.Client()
		if _, err := f.Keys(t.Context()); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := gate(t, identity.Options{Issuers: []*identity.Issuer{r.issuer}}).Metadata("https://gateway.example/mcp")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, identity.MetadataPath+"/mcp", http.NoBody))
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Resource != "https://gateway.example/mcp" || len(doc.Servers) != 1 || doc.Servers[0] != "https://issuer.example" || doc.Scopes[0] != "tools" {
		t.Error(w.Body.String(), err)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, identity.MetadataPath, http.NoBody))
	if w.Code != http.StatusMethodNotAllowed {
		t.Error(w.Code)
	}
}
