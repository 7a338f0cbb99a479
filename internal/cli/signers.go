package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/kms"
	"github.com/cabincrew/action/signing/online"
)

// planTrust is whose signatures of plans and take-offs a governance trusts. Everything
// it is made of belongs to the governance; what it fingerprints is part of its hash.
func (s *session) planTrust(o *origin) (signing.Trust, error) {
	c := o.config.Signing
	t := signing.Trust{RequireTimestamp: c.RequireTimestamp, InsecureNoLogEntry: c.NoLogEntry, InsecureNoSCT: c.NoSCT}
	listed := map[string]bool{}
	for _, k := range c.Trusted.Keys {
		key, err := s.publicKey(o, k.Key, "put the public key there (cabincrew keys generate writes one)")
		if err != nil {
			return t, err
		}
		listed[key.Fingerprint()] = true
		t.Keys = append(t.Keys, signing.TrustedKey{Key: key, NotBefore: k.NotBefore, NotAfter: k.NotAfter})
	}
	if c.Key != "" && !c.KeyService() {
		key, err := s.publicKey(o, c.Key+".pub", "keep "+c.Key+".pub beside the key; cabincrew keys generate writes both")
		if err != nil {
			return t, err
		}
		if !listed[key.Fingerprint()] { // a window that is given for it counts
			t.Keys = append(t.Keys, signing.TrustedKey{Key: key})
		}
	}
	for _, i := range c.Trusted.Identities {
		id, err := signing.NewIdentity(signing.IdentityPolicy{
			Issuer: i.Issuer, SAN: i.SAN, SignerURI: i.SignerURI, SignerDigests: i.SignerDigests, SourceRepositoryID: i.RepositoryID, OwnerID: i.OwnerID,
			RunnerEnvironment: i.RunnerEnvironment, Events: i.Events, SourceRef: i.Ref,
			PredicateTypes: predicateTypes(i.Signs),
		})
		if err != nil {
			return t, fmt.Errorf("%s: %w", i.Where, err)
		}
		t.Identities = append(t.Identities, id)
	}
	if c.TrustedRoot == "" {
		return t, nil
	}
	raw, err := s.governed(o, c.TrustedRoot, limits.TrustedRootBytes)
	if err != nil {
		return t, usageError("trusted_root_unreadable", "the trusted root cannot be read: %w", err).At(c.TrustedRoot).
			WithHint("write it with cosign trusted-root create, and commit it")
	}
	t.Root, err = signing.ParseTrustedRoot(raw)
	return t, err
}

// predicateTypes are those of the statements that signs lists.
func predicateTypes(signs []string) []string {
	var out []string
	for _, s := range signs {
		if s == config.SignsPlan {
			out = append(out, signing.FlightPlanType)
		} else {
			out = append(out, signing.TakeOffType, signing.ApprovalType)
		}
	}
	return out
}

// governed reads a file of the governance.
func (s *session) governed(o *origin, name string, most int64) ([]byte, error) {
	at, err := o.read(s.place, name)
	if err != nil {
		return nil, err
	}
	return readWhole(at, most)
}

func readWhole(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // the configuration or the person names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return raw, err
}

func (s *session) publicKey(o *origin, name, hint string) (*signing.PublicKey, error) {
	raw, err := s.governed(o, name, limits.KeyFileBytes)
	if err != nil {
		return nil, usageError("signing_key", "the public part of a signing key cannot be read: %w", err).WithHint("%s", hint)
	}
	key, err := signing.ParsePublic(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// signer gives what signs plans and take-offs, made when it is first asked for: a
// private key is the machine's, an identity that of the CI job. nil: nothing signs.
func (s *session) signer(o *origin, trust signing.Trust) func(context.Context) (signing.Signer, error) {
	c := o.config.Signing
	if !c.On() {
		return nil
	}
	var once sync.Mutex
	var signer signing.Signer
	return func(ctx context.Context) (signing.Signer, error) {
		once.Lock()
		defer once.Unlock()
		if signer != nil {
			return signer, nil
		}
		made, err := s.newSigner(ctx, c, trust)
		if err == nil {
			signer = made
		}
		return made, err
	}
}

func (s *session) newSigner(ctx context.Context, c config.Signing, trust signing.Trust) (signing.Signer, error) {
	services := online.Services{Fulcio: c.FulcioURL, Timestamp: c.TimestampURL, Rekor: c.RekorURL, Public: c.Public, Trust: trust}
	if c.Keyless {
		tokens, err := s.tokens(c)
		if err != nil {
			return nil, err
		}
		return online.NewKeyless(tokens, services)
	}
	var key signing.Signer
	var err error
	if c.KeyService() {
		key, err = s.app.serviceKey(ctx, c.Key, trust)
	} else {
		key, err = s.app.openKey(s.place.file(c.Key))
	}
	if err != nil {
		return nil, err
	}
	if err := trust.Counts(key.Public(), time.Now()); err != nil {
		return nil, usageError("signing_key", "what %s signs would not count: %w", key.Describe(), err).
			WithHint("sign with a key that signing.trusted.keys names, in its window")
	}
	if c.TimestampURL == "" && c.RekorURL == "" {
		return key, nil
	}
	return online.NewKey(key, services)
}

// tokens finds where identity tokens come from.
func (s *session) tokens(c config.Signing) (online.TokenSource, error) {
	if c.IdentityToken == "" {
		return online.FromEnvironment(s.app.env, nil)
	}
	text, ok := s.app.env[c.IdentityToken]
	if !ok {
		return nil, usageError("identity_token", "the variable %s, in which signing.identity_token looks for the identity token, is not set", c.IdentityToken).
			WithHint("set it, or leave signing.identity_token out where the CI system gives tokens")
	}
	token, err := online.NewToken(text)
	if err != nil {
		return nil, err
	}
	return online.Given(token), nil
}

// serviceKey opens a key of a key service, which must be one that is trusted: who can
// make a URI lead elsewhere must not change who signs.
func (a *app) serviceKey(ctx context.Context, uri string, trust signing.Trust) (key signing.Signer, err error) {
	for _, t := range trust.Keys { // the configuration has at least one
		if key, err = kms.Open(ctx, uri, a.env, t.Key); err == nil || !errors.Is(err, protocol.Code(signing.CodeSignerConfig)) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}
