package kms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/kms"
)

const token = "hvs.a-secret-of-vault"

// vault answers as the transit engine of Vault does (its HTTP API, "Read key" and
// "Sign data").
func vault(t *testing.T, private crypto.Signer, calls *int) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, data map[string]any) {
		*calls++
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}
	allowed := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Vault-Token") == token {
			return true
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `{"errors":["permission denied for %s"]}`, r.Header.Get("X-Vault-Token"))
		return false
	}
	mux.HandleFunc("GET /v1/transit/keys/plans", func(w http.ResponseWriter, r *http.Request) {
		if !allowed(w, r) {
			return
		}
		key := map[string]any{"name": "P-256"}
		if public, ok := private.Public().(ed25519.PublicKey); ok {
			key["name"], key["public_key"] = "ed25519", base64.StdEncoding.EncodeToString(public)
		} else {
			spki, err := x509.MarshalPKIXPublicKey(private.Public())
			if err != nil {
				t.Error(err)
			}
			key["public_key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
		}
		answer(w, map[string]any{"latest_version": 2, "keys": map[string]any{"2": key}})
	})
	mux.HandleFunc("PUT /v1/transit/sign/plans/", func(w http.ResponseWriter, r *http.Request) { sign(t, w, r, private, answer, allowed) })
	mux.HandleFunc("PUT /v1/transit/sign/plans", func(w http.ResponseWriter, r *http.Request) { sign(t, w, r, private, answer, allowed) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func sign(t *testing.T, w http.ResponseWriter, r *http.Request, private crypto.Signer,
	answer func(http.ResponseWriter, map[string]any), allowed func(http.ResponseWriter, *http.Request) bool,
) {
	t.Helper()
	if !allowed(w, r) {
		return
	}
	var body struct {
		Input     []byte `json:"input"`
		Prehashed bool   `json:"prehashed"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := private.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	if body.Prehashed != (opts == crypto.SHA256) {
		t.Errorf("prehashed is %v", body.Prehashed)
	}
	sig, err := private.Sign(rand.Reader, body.Input, opts)
	if err != nil {
		t.Error(err)
	}
	answer(w, map[string]any{"signature": "vault:v2:" + base64.StdEncoding.EncodeToString(sig)})
}

func keys(t *testing.T) map[signing.KeyType]crypto.Signer {
	t.Helper()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[signing.KeyType]crypto.Signer{signing.ECDSAP256: p256, signing.Ed25519: ed}
}

func public(t *testing.T, s crypto.Signer) *signing.PublicKey {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	k, err := signing.ParsePublic(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func statement(t *testing.T) []byte {
	t.Helper()
	digest := protocol.Digest(nil)
	s, err := signing.NewTakeOff(nil, signing.TakeOffPredicate{
		Version: signing.PredicateVersion, WorkflowID: "wf-1", FlightToken: digest, Verdict: signing.VerdictCompleted,
		Receipts: []signing.TakeOffReceipt{{StepID: "format", Digest: digest}}, PlanBundle: digest,
		AuditHead: signing.AuditHead{Size: "0", Root: digest}, FinishedAt: "2026-03-01T12:00:00Z", Workflow: "w", PlannedAt: "2026-03-01T11:00:00Z", CabinCrew: "0.1.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantError(t *testing.T, err error, exit int, code string, parts ...string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.ExitCode() != exit {
		t.Fatalf("got %v (exit %d), want %s, exit %d", err, protocol.ExitCode(err), code, exit)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func TestVault(t *testing.T) {
	t.Parallel()
	for typ, private := range keys(t) {
		calls := 0
		env := map[string]string{"VAULT_ADDR": vault(t, private, &calls), "VAULT_TOKEN": token}
		want := public(t, private)
		key, err := kms.Open(t.Context(), "hashivault://plans", env, want)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		bundle, err := key.Sign(t.Context(), statement(t))
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		if _, err := signing.Verify(bundle, time.Time{}, signing.TrustedKey{Key: want}); err != nil || calls < 2 {
			t.Errorf("%s: %v after %d calls", typ, err, calls)
		}
		_, err = kms.Open(t.Context(), "hashivault://plans", env, public(t, keys(t)[typ]))
		wantError(t, err, protocol.ExitUsage, signing.CodeSignerConfig, "holds key")
		_, err = kms.Open(t.Context(), "hashivault://other", env, want)
		wantError(t, err, protocol.ExitUnreachable, signing.CodeSignerUnreachable, "hashivault://other")
		env["VAULT_TOKEN"] = "hvs.wrong-secret"
		_, err = kms.Open(t.Context(), "hashivault://plans", env, want)
		wantError(t, err, protocol.ExitUnreachable, signing.CodeSignerUnreachable, "permission denied for [secret]")
	}
}

func TestOtherServices(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	env := map[string]string{"VAULT_ADDR": closed.URL, "VAULT_TOKEN": token}
	open := func(uri string, env map[string]string) error {
		_, err := kms.Open(t.Context(), uri, env, nil)
		return err
	}
	wantError(t, open("hashivault://plans", nil), protocol.ExitUsage, signing.CodeSignerConfig, "VAULT_ADDR")
	wantError(t, open("other://plans", env), protocol.ExitUsage, signing.CodeSignerConfig, "names no key service")
	wantError(t, open("../plans", env), protocol.ExitUsage, signing.CodeSignerConfig, "names no key service")
	wantError(t, open("hashivault://plans", env), protocol.ExitUnreachable, signing.CodeSignerUnreachable, "connection refused")
	if _, err := exec.LookPath("sigstore-kms-gcpkms"); err == nil {
		t.Skip("skipped: there is a plug-in for gcpkms here")
	}
	wantError(t, open("gcpkms://projects/x", env), protocol.ExitUsage, signing.CodeSignerConfig, "sigstore-kms-gcpkms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kms.Open(ctx, "hashivault://a b", env, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !kms.Is("awskms:///alias/x") || kms.Is("keys/plan.key") {
		t.Error("Is")
	}
}
