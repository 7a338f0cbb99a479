package signing_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cabincrew/action/signing"
)

// TestEvents signs and verifies events with both kinds of keys.
func TestEvents(t *testing.T) {
	t.Parallel()
	event := []byte(`{"event_id":"00","message":"m"}`)
	for i, typ := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		k, other := newKey(t, typ, byte(2*i+1)), newKey(t, typ, byte(2*i+2))
		sig, err := k.SignEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Public().VerifyEvent(event, sig); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		if other.Public().VerifyEvent(event, sig) == nil || k.Public().VerifyEvent(event[1:], sig) == nil || k.Public().VerifyEvent(event, nil) == nil {
			t.Errorf("%s: verified by another key, over another event, or without a signature", typ)
		}
		for at := range sig {
			changed := bytes.Clone(sig)
			changed[at] ^= 1
			if k.Public().VerifyEvent(event, changed) == nil {
				t.Errorf("%s: byte %d of the signature changed", typ, at)
			}
		}
		for _, none := range []string{"", "DSSEv1 28 x", "cabincrew.dev/42/f\n"} {
			if _, err := k.SignEvent([]byte(none)); err == nil {
				t.Errorf("%s: %q was signed as an event", typ, none)
			}
		}
	}
}

// TestAuditHeadOfStatements reads heads out of bundles, verified and not.
func TestAuditHeadOfStatements(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.Ed25519, 1)
	p := flightPlan()
	p.AuditHead.Checkpoint = "o\n1\nx\n\n— o x\n"
	plan, err := signing.NewFlightPlan(manifest, p)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := signing.NewTakeOff(manifest, takeOff())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		statement []byte
		want      signing.AuditHead
	}{"plan": {plan, p.AuditHead}, "take-off": {ended, takeOff().AuditHead}} {
		bundle, err := signing.Sign(t.Context(), key, c.statement)
		if err != nil {
			t.Fatal(err)
		}
		v, err := signing.Verify(bundle, time.Time{}, signing.TrustedKey{Key: key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		id, head, err := v.AuditHead()
		again, unverified, uerr := signing.UnverifiedAuditHead(bundle)
		if err != nil || uerr != nil || id != "wf-1" || again != id || head != c.want || unverified != c.want {
			t.Errorf("%s: %s %+v %v, %s %+v %v", name, id, head, err, again, unverified, uerr)
		}
	}
	bundle, err := signing.Sign(t.Context(), key, approvalStatement(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := signing.UnverifiedAuditHead(bundle); err == nil {
		t.Error("an approval has an audit head")
	}
	if _, _, err := signing.UnverifiedAuditHead([]byte("{}")); err == nil {
		t.Error("{} is a bundle")
	}
}
