package rego

import (
	"crypto/elliptic"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// TestSignatureEnds honours what OPA's verifier passes over: the end of a
// signature, and extensions that must be understood.
func TestSignatureEnds(t *testing.T) {
	t.Parallel()
	p := ecPair(t, elliptic.P256(), "ES256")
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	key := *p.key
	key.Now = func() time.Time { return now }
	head := map[string]any{"alg": "ES256", "kid": "k"}
	signed := func(head map[string]any, exp any) []byte {
		claims := map[string]any{"files": good().listed(t, bundle.SHA256)}
		if exp != nil {
			claims["exp"] = exp
		}
		return good().signatures(p.handmade(t, head, claims)).archive(t)
	}
	for _, exp := range []any{nil, now.Unix() + 1, float64(now.Unix()) + 0.5} {
		if _, err := Bundle(signed(head, exp), &key, "b"); err != nil {
			t.Errorf("exp %v: %v", exp, err)
		}
	}
	for _, exp := range []any{1, now.Unix(), -1} {
		refused(t, signed(head, exp), &key, "policy_bundle_signature", "it ended (exp ")
	}
	for _, exp := range []any{"4000000000", true, []any{}} {
		refused(t, signed(head, exp), &key, "policy_bundle_signature", "exp")
	}
	for _, crit := range []any{[]any{"x"}, []any{}, "exp", nil} {
		refused(t, signed(map[string]any{"alg": "ES256", "kid": "k", "crit": crit, "x": 1}, nil), &key, "policy_bundle_signature", "crit")
	}
	// Without a clock of its own it is the machine's.
	refused(t, signed(head, 1), p.key, "policy_bundle_signature", "it ended")
	if _, err := Bundle(signed(head, time.Now().Unix()+3600), p.key, "b"); err != nil {
		t.Error(err)
	}
}
