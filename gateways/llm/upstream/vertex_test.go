package upstream

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/llm/route"
)

// account makes a key of a service account, and what checks what it signs.
var account = sync.OnceValues(func() (*rsa.PrivateKey, string) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

func accountJSON(tokenURI string) func(context.Context) (string, error) {
	_, text := account()
	b, _ := json.MarshalIndent(map[string]any{
		"type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": text,
		"client_email": "agent@p.iam.gserviceaccount.com", "token_uri": tokenURI,
	}, "", "  ")
	return func(context.Context) (string, error) { return string(b), nil }
}

// checkAssertion says what is wrong with what a service account signed, by what is
// published and not by the code that signs.
// SPEC: Google identity, "Using OAuth 2.0 for server to server applications"; RFC 7523.
func checkAssertion(t *testing.T, r *http.Request, audience string) {
	t.Helper()
	if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("%v, %v", r.Form, err)
	}
	parts := strings.Split(r.Form.Get("assertion"), ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var head struct{ Alg, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Exp, Iat        int64
	}
	for i, to := range []any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, to) != nil {
			t.Fatalf("%s: %v", parts[i], err)
		}
	}
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	k, _ := account()
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], sig); err != nil || head.Alg != "RS256" || head.Kid != "k1" {
		t.Errorf("%+v: %v", head, err)
	}
	if claims.Iss != "agent@p.iam.gserviceaccount.com" || claims.Aud != audience || claims.Scope != vertexScope || claims.Exp-claims.Iat > 3700 ||
		time.Since(time.Unix(claims.Iat, 0)).Abs() > time.Minute {
		t.Errorf("%+v", claims)
	}
}

// tokenServer is an endpoint that gives tokens, each with its number.
func tokenServer(t *testing.T, answer func(w http.ResponseWriter, n int64)) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Form == nil {
			checkAssertion(t, r, "http://"+r.Host+"/token")
		}
		answer(w, asked.Add(1))
	}) + "/token"
	return url, asked
}

func giveToken(seconds int) func(w http.ResponseWriter, n int64) {
	return func(w http.ResponseWriter, n int64) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"ya29.token-%d","token_type":"Bearer","expires_in":%d}`, n, seconds)
	}
}

func TestVertexRequests(t *testing.T) {
	t.Parallel()
	tokenURL, asked := tokenServer(t, giveToken(3600))
	const models = "/v1/projects/my-project/locations/us-east5/publishers/anthropic/models/"
	type want struct{ path, body string }
	var expect want
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.RequestURI != expect.path || string(body) != expect.body || r.Header.Get("Authorization") != "Bearer ya29.token-1" {
			t.Errorf("%s %s %v", r.RequestURI, body, r.Header)
		}
		_, _ = io.WriteString(w, "{}")
	})
	k := client(t, u, func(o *Options) {
		o.Kind, o.Region, o.Project, o.Key = route.Vertex, "us-east5", "my-project", accountJSON(tokenURL)
	})
	for _, c := range []struct {
		call Call
		want want
	}{
		{
			Call{Path: "/messages", Model: "claude-sonnet-4@20250514", Body: []byte(`{"model":"x", "max_tokens":1}`)},
			want{models + "claude-sonnet-4@20250514:rawPredict", `{"anthropic_version":"vertex-2023-10-16","max_tokens":1}`},
		},
		{
			Call{Path: "/v1/messages", Model: "claude-sonnet-4", Stream: true, Body: []byte(`{"stream":true}`)},
			want{models + "claude-sonnet-4:streamRawPredict", `{"anthropic_version":"vertex-2023-10-16","stream":true}`},
		},
		{
			Call{Path: "/messages/count_tokens", Model: "claude-sonnet-4", Body: []byte(`{"model":"claude-sonnet-4"}`)},
			want{models + "count-tokens:rawPredict", `{"anthropic_version":"vertex-2023-10-16","model":"claude-sonnet-4"}`},
		},
		{
			Call{Path: "/chat/completions", Model: "google/gemini", Body: []byte(`{"model":"google/gemini"}`)},
			want{"/v1/projects/my-project/locations/us-east5/endpoints/openapi/chat/completions", `{"model":"google/gemini"}`},
		},
	} {
		expect = c.want
		if _, text, err := whole(t, k, c.call); err != nil || text != "{}" {
			t.Errorf("%s: %q, %v", c.call.Path, text, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d exchanges", asked.Load())
	}
	for _, call := range []Call{
		{Path: "/responses", Body: []byte("{}")}, {Path: "/messages", Model: "a/b", Body: []byte("{}")}, {Path: "/messages", Model: "..", Body: []byte("{}")},
		{Path: "/messages", Model: "m:x", Body: []byte("{}")}, {Path: "/messages", Model: "m", Body: []byte("no")},
	} {
		_, _, err := whole(t, k, call)
		failed(t, err, Refused, false)
	}
}

// TestVertexTokens says that callers share an exchange, that a token is not used when it is
// about to end, and that a key which changed is exchanged anew.
func TestVertexTokens(t *testing.T) {
	t.Parallel()
	tokenURL, asked := tokenServer(t, func(w http.ResponseWriter, n int64) {
		time.Sleep(50 * time.Millisecond)
		giveToken(3600)(w, n)
	})
	var current atomic.Pointer[string]
	first, _ := accountJSON(tokenURL)(t.Context())
	second := first + " "
	current.Store(&first)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	k := client(t, u, func(o *Options) {
		o.Kind, o.Region, o.Project, o.Key = route.Vertex, "us-east5", "p", func(context.Context) (string, error) { return *current.Load(), nil }
	})
	var late atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	k.now, k.tokens.now = now, now
	all := func(want string) {
		t.Helper()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if _, text, err := whole(t, k, ask()); err != nil || text != want {
					t.Errorf("%q, %v", text, err)
				}
			})
		}
		group.Wait()
	}
	all("Bearer ya29.token-1")
	all("Bearer ya29.token-1")
	late.Store(int64(59*time.Minute + 30*time.Second))
	all("Bearer ya29.token-2")
	current.Store(&second)
	all("Bearer ya29.token-3")
	if n := asked.Load(); n != 3 {
		t.Errorf("%d exchanges", n)
	}
}

func TestVertexKeysThatFail(t *testing.T) {
	t.Parallel()
	elsewhere := false
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere = true })
	_, private := account()
	for name, c := range map[string]func(w http.ResponseWriter, n int64){
		"refused": func(w http.ResponseWriter, _ int64) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"`+secret+`"}`)
		},
		"redirect": func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Location", other)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"no JSON":   func(w http.ResponseWriter, _ int64) { _, _ = io.WriteString(w, secret) },
		"no token":  func(w http.ResponseWriter, _ int64) { _, _ = io.WriteString(w, "{}") },
		"odd token": func(w http.ResponseWriter, _ int64) { _, _ = io.WriteString(w, `{"access_token":"a\r\nb"}`) },
		"compressed": func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, bomb())
		},
		"endless": func(w http.ResponseWriter, _ int64) { _, _ = io.Copy(w, io.LimitReader(zeros{}, 10<<20)) },
	} {
		tokenURL, asked := tokenServer(t, c)
		k := client(t, "http://127.0.0.1:1", func(o *Options) {
			o.Kind, o.Region, o.Project, o.Key = route.Vertex, "us-east5", "p", accountJSON(tokenURL)
		})
		for range 5 {
			_, _, err := whole(t, k, ask())
			failed(t, err, Key, false)
			if strings.Contains(err.Error(), private[100:120]) {
				t.Error(err)
			}
		}
		if asked.Load() != 1 {
			t.Errorf("%s: %d exchanges without a pause", name, asked.Load())
		}
	}
	if elsewhere {
		t.Error("a redirect is followed")
	}
	for _, text := range []string{
		"{", "{}", `{"type":"external_account","credential_source":{"executable":{"command":"/bin/true"}}}`, `{"type":"service_account","token_uri":"http://example.com/token"}`,
		`{"type":"service_account","token_uri":"https://u:p@example.com/token"}`, `{"type":"service_account","private_key":"no"}`, `{"type":"authorized_user"}`,
	} {
		k := client(t, "http://127.0.0.1:1", func(o *Options) {
			o.Kind, o.Region, o.Project, o.Key = route.Vertex, "us-east5", "p", func(context.Context) (string, error) { return text, nil }
		})
		_, _, err := whole(t, k, ask())
		failed(t, err, Key, false)
	}
	metadata, _ := accountJSON("https://metadata.google.internal/token")(t.Context())
	k := client(t, "http://127.0.0.1:1", func(o *Options) {
		o.Kind, o.Region, o.Project, o.Key = route.Vertex, "us-east5", "p", func(context.Context) (string, error) { return metadata, nil }
	})
	_, _, err := whole(t, k, ask())
	failed(t, err, Key, false)
}

// TestVertexSlowToken says that a call leaves an exchange that takes too long.
func TestVertexSlowToken(t *testing.T) {
	t.Parallel()
	stop := make(chan bool)
	defer close(stop)
	tokenURL, _ := tokenServer(t, func(http.ResponseWriter, int64) { <-stop })
	k := client(t, "http://127.0.0.1:1", func(o *Options) {
		o.Kind, o.Region, o.Project, o.Key, o.FirstByte = route.Vertex, "us-east5", "p", accountJSON(tokenURL), 50*time.Millisecond
	})
	_, _, err := whole(t, k, ask())
	failed(t, err, FirstByte, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = k.Do(ctx, ask())
	failed(t, err, Cancelled, false)
	k.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
