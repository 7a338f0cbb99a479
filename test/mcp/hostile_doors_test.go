package mcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue gives a certificate for a server on loopback, and for a client of that name.
func (a *authority) issue(name string) (pair tls.Certificate, cert, key string) {
	a.t.Helper()
	k := newKey(a.t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if pair, err = tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		a.t.Fatal(err)
	}
	return pair, cert, key
}

// secured starts a gateway that serves with TLS; more are further lines of clients.
func secured(t *testing.T, clients string, files map[string]string, hosts ...*hostile) (*gateway, *authority) {
	t.Helper()
	if standIn() {
		t.Skip("the stand-in has no door")
	}
	a := newAuthority(t, "tests")
	_, cert, key := a.issue("gateway")
	all := map[string]string{"tls/cert.pem": cert, "tls/key.pem": key}
	maps.Copy(all, files)
	g := before(t, setting{files: all, more: "clients:\n  cert: tls/cert.pem\n  key: tls/key.pem\n" + clients}, hosts...)
	g.url = "https" + strings.TrimPrefix(g.url, "http")
	return g, a
}

// client is a client over TLS, with a token and a certificate if they are given.
func (a *authority) client(url, token string, certs ...tls.Certificate) *client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := newClient(url)
	c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}, ForceAttemptHTTP2: true}
	a.t.Cleanup(c.http.CloseIdleConnections)
	if token != "" {
		c.header = http.Header{"Authorization": {"Bearer " + token}}
	}
	return c
}

const begin = `{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"judge","version":"1"}}}`

// locked demands that a client is turned away with a challenge.
func locked(t *testing.T, what string, c *client, words ...string) {
	t.Helper()
	got := c.must(t, begin)
	challenge := got.header.Get("WWW-Authenticate")
	if got.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer") || got.answer().Result != nil {
		t.Errorf("%s: %s, challenge %q", what, got, challenge)
	}
	for _, word := range words {
		if !strings.Contains(challenge, word) {
			t.Errorf("%s: %q is not in the challenge %q", what, word, challenge)
		}
	}
	if token := c.header.Get("Authorization"); len(token) > 10 && strings.Contains(got.String(), token[7:]) {
		t.Errorf("%s: the refusal repeats the token", what)
	}
}

// entered begins a session and calls a tool.
func entered(t *testing.T, what string, c *client) {
	t.Helper()
	if err := c.initialize(t.Context()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	c.list(t)
	passed(t, c.tool(t, "echo", `{"text":"a"}`))
}

// stolen demands that a session serves nobody but its client.
func stolen(t *testing.T, owner, thief *client) {
	t.Helper()
	thief.session = owner.session
	for what, body := range map[string]string{
		"call": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"stolen"}}}`, "note": `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
	} {
		if got := thief.must(t, body); got.status != http.StatusNotFound && got.status != http.StatusForbidden {
			t.Errorf("%s with a stolen session: %s", what, got)
		}
	}
	if stream, err := thief.listen(t.Context()); err == nil {
		_ = stream.Body.Close()
		t.Error("a stolen session is listened to")
	}
	r, err := thief.request(t.Context(), http.MethodDelete, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := thief.http.Do(r); err != nil || a.StatusCode/100 == 2 {
		t.Errorf("a stolen session is ended: %v, %v", a, err)
	} else {
		_ = a.Body.Close()
	}
	passed(t, owner.tool(t, "echo", `{"text":"b"}`))
}

// secretive fails if a server was told how the client came in.
func (h *hostile) secretive(words ...string) {
	h.t.Helper()
	for _, s := range h.saw("") {
		if v := s.header.Get("Authorization"); v != "" {
			h.t.Errorf("the server was given %q", v)
		}
		for _, word := range words {
			if strings.Contains(string(s.raw), word) || strings.Contains(fmt.Sprint(s.header), word) {
				h.t.Errorf("the server was given the client's credential: %s %v", s.raw, s.header)
			}
		}
		if strings.Contains(string(s.raw), "stolen") {
			h.t.Errorf("the server saw %s", s.raw)
		}
	}
}

// TestDoorTokens: with TLS and bearer tokens, as the program is configured.
func TestDoorTokens(t *testing.T) {
	t.Parallel()
	const alice, bob = "alices-token-0123456789", "bobs-token-0123456789"
	sum := func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }
	h := newHostile(t)
	g, a := secured(t, fmt.Sprintf("  tokens: [{name: alice, sha256: %s}, {name: bob, sha256: %s}]\n", sum(alice), sum(bob)), nil, h)
	for what, token := range map[string]string{"none": "", "unknown": "nobodys-token-0123456789", "digest": sum(alice), "cut": alice[:len(alice)-1]} {
		locked(t, what, a.client(g.url, token))
	}
	basic := a.client(g.url, "")
	basic.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+alice))}}
	locked(t, "basic", basic)
	in := a.client(g.url, alice)
	entered(t, "alice", in)
	stolen(t, in, a.client(g.url, bob))
	nobody := a.client(g.url, "")
	nobody.session = in.session
	if got := nobody.must(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); got.status != http.StatusUnauthorized {
		t.Errorf("a session without a token: %s", got)
	}
	if plain, err := newClient("http"+strings.TrimPrefix(g.url, "https")).post(t.Context(), begin); err == nil && plain.status < 400 {
		t.Errorf("in clear text: %s", plain)
	}
	h.secretive(alice, bob)
	for _, e := range g.audited() {
		if strings.Contains(e.Raw, alice) {
			t.Error("the trail holds a token")
		}
	}
}

// issuer is an issuer of tokens on loopback.
type issuer struct {
	*httptest.Server

	t     *testing.T
	key   *ecdsa.PrivateKey
	asked atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, key: newKey(t)}
	mux := http.NewServeMux()
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		point, err := i.key.PublicKey.Bytes() // 4, x, y
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig","x":%q,"y":%q}]}`, coded(point[1:33]), coded(point[33:]))
	})
	return i
}

// says gives the claims of a good token, with changes.
func (i *issuer) says(change ...any) map[string]any {
	c := map[string]any{"iss": i.URL, "aud": "https://gateway.example/mcp", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for n := 0; n < len(change); n += 2 {
		c[fmt.Sprint(change[n])] = change[n+1]
	}
	return c
}

// token signs claims: by ES256 with a private key, by HS256 with bytes.
func (i *issuer) token(key any, kid string, claims map[string]any) string {
	i.t.Helper()
	alg := "ES256"
	if _, is := key.([]byte); is {
		alg = "HS256"
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	text := coded([]byte(`{"alg":"`+alg+`","typ":"JWT","kid":"`+kid+`"}`)) + "." + coded(payload)
	var sum []byte
	switch key := key.(type) {
	case []byte:
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		sum = h.Sum(nil)
	case *ecdsa.PrivateKey:
		d := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, key, d[:])
		if err != nil {
			i.t.Fatal(err)
		}
		sum = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	return text + "." + coded(sum)
}

func coded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestDoorJWT: with TLS and tokens of an issuer; every refusal says where the metadata of
// that endpoint are, and these are there for everybody.
func TestDoorJWT(t *testing.T) {
	t.Parallel()
	i, h := newIssuer(t), newHostile(t)
	g, a := secured(t, fmt.Sprintf("  url: https://gateway.example\n  oidc: [{issuer: %q, audience: %q}]\n", i.URL, "https://gateway.example/mcp"), nil, h)
	good := i.token(i.key, "k1", i.says())
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for what, token := range map[string]string{
		"none":               "",
		"wrong audience":     i.token(i.key, "k1", i.says("aud", "https://other.example/mcp")),
		"wrong issuer":       i.token(i.key, "k1", i.says("iss", "https://issuer.example")),
		"expired":            i.token(i.key, "k1", i.says("exp", time.Now().Add(-time.Hour).Unix())),
		"not yet":            i.token(i.key, "k1", i.says("nbf", time.Now().Add(time.Hour).Unix())),
		"unknown kid":        i.token(i.key, "k2", i.says()),
		"another's key":      i.token(newKey(t), "k1", i.says()),
		"alg none":           coded([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + ".",
		"alg none, signed":   coded([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + "." + parts[2],
		"HS256 by public":    i.token(public, "k1", i.says()),
		"HS256 by its DER":   i.token(der, "k1", i.says()),
		"payload of another": parts[0] + "." + coded([]byte(`{"sub":"root"}`)) + "." + parts[2],
	} {
		for _, path := range []string{"", "/one"} {
			locked(t, what, a.client(g.url+path, token), `resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp`+path+`"`)
		}
	}
	in := a.client(g.url, good)
	entered(t, "alice", in)
	stolen(t, in, a.client(g.url, i.token(i.key, "k1", i.says("sub", "bob"))))
	if n := i.asked.Load(); n > 3 {
		t.Errorf("the issuer was asked %d times", n)
	}
	for _, path := range []string{"/mcp", "/mcp/one"} {
		resp, err := a.client(g.url, "").http.Get(strings.TrimSuffix(g.url, "/mcp") + "/.well-known/oauth-protected-resource" + path)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
		}
		err = json.NewDecoder(resp.Body).Decode(&m)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || m.Resource != "https://gateway.example"+path || len(m.Servers) != 1 || m.Servers[0] != i.URL {
			t.Errorf("the metadata of %s: %d %+v, %v", path, resp.StatusCode, m, err)
		}
	}
	h.secretive(good)
}

// TestDoorCertificates: with certificates of clients, nobody comes in without one.
func TestDoorCertificates(t *testing.T) {
	t.Parallel()
	clients, foreign := newAuthority(t, "clients"), newAuthority(t, "clients") // of the same name
	h := newHostile(t)
	g, a := secured(t, "  ca: tls/clients.pem\n", map[string]string{"tls/clients.pem": clients.pem}, h)
	alice, _, _ := clients.issue("alice")
	bob, _, _ := clients.issue("bob")
	forged, _, _ := foreign.issue("alice")
	for what, certs := range map[string][]tls.Certificate{"none": nil, "foreign": {forged}} {
		if got, err := a.client(g.url, "", certs...).post(t.Context(), begin); err == nil && got.status < 400 {
			t.Errorf("%s: %s", what, got)
		}
	}
	in := a.client(g.url, "", alice)
	entered(t, "alice", in)
	stolen(t, in, a.client(g.url, "", bob))
	h.secretive()
}

// TestDoorCertificatesOrTokens: where there are both, one is enough, and neither is none.
func TestDoorCertificatesOrTokens(t *testing.T) {
	t.Parallel()
	clients := newAuthority(t, "clients")
	h := newHostile(t)
	d := sha256.Sum256([]byte("bots-token-0123456789"))
	g, a := secured(t, "  ca: tls/clients.pem\n  tokens: [{name: bot, sha256: "+hex.EncodeToString(d[:])+"}]\n", map[string]string{"tls/clients.pem": clients.pem}, h)
	alice, _, _ := clients.issue("alice")
	locked(t, "neither", a.client(g.url, ""))
	locked(t, "a certificate with a wrong token", a.client(g.url, "nobodys-token-0123456789", alice))
	in := a.client(g.url, "", alice)
	entered(t, "alice", in)
	bot := a.client(g.url, "bots-token-0123456789")
	entered(t, "bot", bot)
	stolen(t, in, bot)
}

// TestDoorRedirects: a server does not send the gateway elsewhere, least of all to where
// machines keep their secrets.
func TestDoorRedirects(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(http.StatusOK) }))
	t.Cleanup(other.Close)
	h := newHostile(t)
	g := before(t, setting{}, h)
	if standIn() {
		t.Skip("the stand-in follows what it likes")
	}
	c := g.session()
	for _, to := range []string{other.URL + "/mcp", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/mcp", "http://localhost:1/mcp", "//127.0.0.1:9/", "/elsewhere", "file:///etc/passwd"} {
		for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			h.answers("tools/call", func(w http.ResponseWriter, _ *http.Request, _ sent) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			})
			begun := time.Now()
			got := c.tool(t, "echo", `{"text":"a"}`)
			if got.answer().Result != nil || got.status/100 == 3 || got.header.Get("Location") != "" {
				t.Errorf("%s: %s", to, got)
			}
			if time.Since(begun) > 5*time.Second {
				t.Errorf("%s was tried", to)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("another server was asked %d times", n)
	}
	h.answers("tools/call", nil)
	passed(t, c.tool(t, "echo", `{"text":"a"}`))
}
