package online_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/online"
	"github.com/cabincrew/action/signing/signingtest"
)

var (
	today    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	manifest = []byte(`{"files":[]}`)
)

func statement(t testing.TB) []byte {
	t.Helper()
	digest := protocol.Digest(manifest)
	s, err := signing.NewTakeOff(manifest, signing.TakeOffPredicate{
		Version: signing.PredicateVersion, WorkflowID: "wf-1", FlightToken: digest, Verdict: signing.VerdictCompleted,
		Receipts: []signing.TakeOffReceipt{{StepID: "format", Digest: digest}}, PlanBundle: digest,
		AuditHead: signing.AuditHead{Size: "0", Root: digest}, Workflow: "w", PlannedAt: "2026-03-01T11:00:00Z", FinishedAt: "2026-03-01T12:00:00Z", CabinCrew: "0.1.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rig is an authority that listens on a loopback.
type rig struct {
	*signingtest.Authority

	url string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	a := signingtest.New(t, today)
	server := httptest.NewServer(a.Handler(signingtest.GitHub))
	t.Cleanup(server.Close)
	return &rig{a, server.URL}
}

func (r *rig) services() online.Services {
	return online.Services{Fulcio: r.url, Timestamp: r.url + signingtest.PathTimestamp}
}

func (r *rig) trust(t *testing.T, parts signingtest.Parts) signing.Trust {
	t.Helper()
	root, err := signing.ParseTrustedRoot(r.TrustedRoot(parts))
	if err != nil {
		t.Fatal(err)
	}
	f := signingtest.GitHub()
	id, err := signing.NewIdentity(signing.IdentityPolicy{Issuer: f.Extensions[8], SAN: f.SAN, SourceRepositoryID: "17", OwnerID: "7"})
	if err != nil {
		t.Fatal(err)
	}
	return signing.Trust{Root: root, Identities: []signing.Identity{id}}
}

func given(t *testing.T, text string) online.TokenSource {
	t.Helper()
	token, err := online.NewToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return online.Given(token)
}

func wantError(t *testing.T, err error, exit int, code string, parts ...string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.ExitCode() != exit {
		t.Fatalf("got %v (exit %d), want %s, exit %d", err, protocol.ExitCode(err), code, exit)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error()+e.Hint, p) {
			t.Errorf("%q (%s) does not say %q", err, e.Hint, p)
		}
	}
}

func TestKeyless(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, parts := range map[string]signingtest.Parts{"time stamp": {CA: true, TSA: true}, "and log": {CA: true, TSA: true, Log: true}} {
		s := r.services()
		s.Trust = r.trust(t, parts)
		if parts.Log {
			s.Rekor = r.url
		}
		signer, err := online.NewKeyless(given(t, signingtest.Token("repo:acme/infra")), s)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signer.Sign(t.Context(), statement(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, v, err := s.Trust.VerifyTakeOff(bundle, manifest, time.Time{})
		if err != nil || v.Certificate.SourceRepositoryID != "17" || !v.Time.Equal(today) {
			t.Errorf("%s: %v %+v", name, err, v)
		}
		if signer.Public() != nil || !strings.Contains(signer.Describe(), r.url) {
			t.Errorf("%s: %s", name, signer.Describe())
		}
	}
}

func TestKeyWithServices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := func(typ signing.KeyType) *signing.Key {
		private, _, err := signing.Generate(typ, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		k, err := signing.LoadPrivate(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, typ := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		k, parts := key(typ), signingtest.Parts{TSA: true}
		s := online.Services{Timestamp: r.url + signingtest.PathTimestamp}
		if typ == signing.ECDSAP256 {
			s.Rekor, parts.Log = r.url, true
		}
		s.Trust = r.trust(t, parts)
		signer, err := online.NewKey(k, s)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signer.Sign(t.Context(), statement(t))
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		trust := signing.Trust{Keys: []signing.TrustedKey{{Key: k.Public()}}, Root: s.Trust.Root, RequireTimestamp: true}
		if v, err := trust.Verify(bundle, time.Time{}); err != nil || !v.Time.Equal(today) {
			t.Errorf("%s: %v %+v", typ, err, v)
		}
		if signer.Describe() != k.Describe() || signer.Public() != k.Public() {
			t.Error(signer.Describe())
		}
	}
	_, err := online.NewKey(key(signing.Ed25519), online.Services{Rekor: r.url})
	wantError(t, err, protocol.ExitUsage, signing.CodeSignerConfig, "ed25519")
	_, err = online.NewKey(key(signing.Ed25519), online.Services{})
	wantError(t, err, protocol.ExitUsage, signing.CodeSignerConfig, "timestamp_url")
}

// A bundle that would be refused elsewhere does not leave.
func TestNewBundlesAreVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, change := range map[string]func(s *online.Services){
		"another authority": func(s *online.Services) {
			s.Trust.Root = newRig(t).trust(t, signingtest.Parts{CA: true, TSA: true}).Root
		},
		"no log, but wanted": func(s *online.Services) { s.Trust = r.trust(t, signingtest.Parts{CA: true, TSA: true, Log: true}) },
		"no SCT, but wanted": func(s *online.Services) { s.Trust = r.trust(t, signingtest.Parts{CA: true, TSA: true, CT: true}) },
		"not our own identity": func(s *online.Services) {
			id, err := signing.NewIdentity(signing.IdentityPolicy{Issuer: "https://example.com", SAN: "a@example.com"})
			if err != nil {
				t.Fatal(err)
			}
			s.Trust.Identities = []signing.Identity{id}
		},
	} {
		s := r.services()
		s.Trust = r.trust(t, signingtest.Parts{CA: true, TSA: true})
		change(&s)
		signer, err := online.NewKeyless(given(t, signingtest.Token("x")), s)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signer.Sign(t.Context(), statement(t))
		if err == nil || bundle != nil {
			t.Errorf("%s: signed", name)
			continue
		}
		wantError(t, err, protocol.ExitFailure, signing.CodeSignFailed, "does not verify")
	}
}

func TestServicesMustBeNamed(t *testing.T) {
	t.Parallel()
	token := given(t, signingtest.Token("x"))
	for name, c := range map[string]struct {
		s    online.Services
		want string
	}{
		"nothing":            {online.Services{}, "signing.fulcio_url"},
		"no time stamps":     {online.Services{Fulcio: "https://fulcio.example.com"}, "signing.timestamp_url"},
		"no TLS":             {online.Services{Fulcio: "http://fulcio.example.com", Timestamp: "https://t.example.com"}, "goes without TLS"},
		"no URL":             {online.Services{Fulcio: "fulcio", Timestamp: "https://t.example.com"}, "not the URL"},
		"a password":         {online.Services{Fulcio: "https://a:b@fulcio.example.com", Timestamp: "https://t.example.com"}, "not the URL"},
		"public, not asked":  {online.Services{Fulcio: "https://fulcio.sigstore.dev", Timestamp: "https://t.example.com"}, "signing.public"},
		"public log":         {online.Services{Fulcio: "https://f.example.com", Timestamp: "https://t.example.com", Rekor: "https://LOG2025-1.rekor.Sigstore.dev."}, "signing.public"},
		"public time stamps": {online.Services{Fulcio: "https://f.example.com", Timestamp: "https://timestamp.sigstore.dev/api/v1/timestamp"}, "signing.public"},
	} {
		_, err := online.NewKeyless(token, c.s)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, protocol.ExitUsage, signing.CodeSignerConfig, c.want)
	}
	if k, err := online.NewKeyless(token, online.Services{Public: true}); err != nil || !strings.Contains(k.Describe(), "fulcio.sigstore.dev") {
		t.Error(err)
	}
	_, err := online.NewKeyless(nil, online.Services{Public: true})
	wantError(t, err, protocol.ExitUsage, online.CodeIdentityToken)
}

// failing answers in one way, whatever is asked.
func failing(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestServicesThatFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	secret := signingtest.Token("refused")
	answer := func(code int, body string) string {
		return failing(t, func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body + req.Header.Get("Authorization")))
		})
	}
	reached := false
	behind := failing(t, func(http.ResponseWriter, *http.Request) { reached = true })
	redirects := failing(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, behind, http.StatusTemporaryRedirect)
	})
	stranger := newRig(t)
	otherKey := failing(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"signedCertificateEmbeddedSct":{"chain":{"certificates":[%q]}}}`, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	})
	for name, c := range map[string]struct {
		change func(s *online.Services)
		exit   int
		code   string
		want   string
	}{
		"no Fulcio":           {func(s *online.Services) { s.Fulcio = closed.URL }, 7, signing.CodeSignerUnreachable, "Fulcio"},
		"no TSA":              {func(s *online.Services) { s.Timestamp = closed.URL }, 7, signing.CodeSignerUnreachable, "time stamping authority"},
		"no log":              {func(s *online.Services) { s.Rekor = closed.URL }, 7, signing.CodeSignerUnreachable, "transparency log"},
		"Fulcio is busy":      {func(s *online.Services) { s.Fulcio = answer(503, "") }, 7, signing.CodeSignerUnreachable, "503"},
		"Fulcio is too busy":  {func(s *online.Services) { s.Fulcio = answer(429, "") }, 7, signing.CodeSignerUnreachable, "429"},
		"Fulcio refuses":      {func(*online.Services) {}, 1, signing.CodeSignerRefused, "401"},
		"Fulcio says all":     {func(s *online.Services) { s.Fulcio = answer(400, "no: ") }, 1, signing.CodeSignerRefused, "400"},
		"Fulcio says nothing": {func(s *online.Services) { s.Fulcio = answer(200, "{}") }, 1, signing.CodeSignerRefused, "chain"},
		"Fulcio says much": {
			func(s *online.Services) { s.Fulcio = answer(200, strings.Repeat("x", limits.SignerResponseBytes+1)) },
			1, signing.CodeSignerRefused, "more than",
		},
		"Fulcio redirects":        {func(s *online.Services) { s.Fulcio = redirects }, 1, signing.CodeSignerRefused, "redirects are not followed"},
		"not a certificate":       {func(s *online.Services) { s.Fulcio = otherKey }, 1, signing.CodeSignerRefused, "Fulcio"},
		"TSA says no":             {func(s *online.Services) { s.Fulcio, s.Timestamp = "", answer(200, "x") }, 1, signing.CodeSignerRefused, "time stamping"},
		"TSA of another protocol": {func(s *online.Services) { s.Fulcio, s.Timestamp = "", stranger.url+"/nothing" }, 1, signing.CodeSignerRefused, "404"},
		"log says no":             {func(s *online.Services) { s.Fulcio, s.Rekor = "", answer(200, "x") }, 1, signing.CodeSignerRefused, "log"},
	} {
		s := r.services()
		c.change(&s)
		token := secret
		if s.Fulcio == "" || strings.HasPrefix(name, "no ") { // Fulcio does its part
			token = signingtest.Token("fine")
		}
		if s.Fulcio == "" {
			s.Fulcio = r.url
		}
		signer, err := online.NewKeyless(given(t, token), s)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signer.Sign(t.Context(), statement(t))
		if err == nil || bundle != nil {
			t.Errorf("%s: signed", name)
			continue
		}
		wantError(t, err, c.exit, c.code, c.want)
		all := fmt.Sprintf("%v %+v %#v %s", err, err, signer, signer.Describe())
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			all += fmt.Sprintf("%v %#v", cause, cause)
		}
		for part := range strings.SplitSeq(token, ".") {
			if strings.Contains(all, part) {
				t.Errorf("%s: the identity token is in %.300q", name, all)
			}
		}
	}
	if reached {
		t.Error("a redirect was followed")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	hanging := failing(t, func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	s := r.services()
	s.Timestamp = hanging
	signer, err := online.NewKeyless(given(t, signingtest.Token("x")), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(ctx, statement(t)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	good := signingtest.Token("x")
	mode := "good"
	issuer := failing(t, func(w http.ResponseWriter, req *http.Request) {
		switch {
		case mode == "mute":
			_, _ = w.Write([]byte("{}"))
		case req.URL.Query().Get("audience") != "sigstore" || req.URL.Query().Get("api-version") != "2.0" || req.Header.Get("Authorization") != "Bearer request-secret":
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = fmt.Fprintf(w, `{"count":1,"value":%q}`, good)
		}
	})
	ask := func(env map[string]string) (string, error) {
		source, err := online.FromEnvironment(env, nil)
		if err != nil {
			return "", err
		}
		token, err := source.Token(t.Context())
		if strings.Contains(fmt.Sprintf("%v %+v %#v %s", token, token, token, source.Describe()), good[:20]) {
			t.Error("a token prints itself")
		}
		if all := fmt.Sprintf("%+v %#v", source, source); strings.Contains(all, good[:20]) || strings.Contains(all, "request-secret") {
			t.Errorf("a source prints its secret: %s", all)
		}
		return source.Describe(), err
	}
	for name, env := range map[string]map[string]string{
		"GitLab": {"SIGSTORE_ID_TOKEN": good},
		"GitHub": {"ACTIONS_ID_TOKEN_REQUEST_URL": issuer + "/?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-secret"},
	} {
		if from, err := ask(env); err != nil || !strings.Contains(from, name) {
			t.Errorf("%s: %v %s", name, err, from)
		}
	}
	for name, c := range map[string]struct {
		env  map[string]string
		exit int
		code string
	}{
		"none":         {nil, 2, online.CodeIdentityToken},
		"half":         {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": issuer}, 2, online.CodeIdentityToken},
		"not a JWT":    {map[string]string{"SIGSTORE_ID_TOKEN": "glpat-abc"}, 2, online.CodeIdentityToken},
		"too long":     {map[string]string{"SIGSTORE_ID_TOKEN": strings.Repeat("a", limits.IdentityTokenBytes) + good}, 2, online.CodeIdentityToken},
		"no TLS":       {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "http://example.com", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x"}, 2, signing.CodeSignerConfig},
		"wrong secret": {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": issuer, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "other-secret"}, 1, signing.CodeSignerRefused},
	} {
		_, err := ask(c.env)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, c.exit, c.code)
		if strings.Contains(fmt.Sprintf("%+v", err), "other-secret") {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
	mode = "mute"
	_, err := ask(map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": issuer, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x"})
	wantError(t, err, 1, signing.CodeSignerRefused, "without a token")
}
