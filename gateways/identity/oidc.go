package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cabincrew/action/internal/limits"
)

// Issuer says whose tokens count, and for whom they must be.
type Issuer struct {
	URL      string // exactly as its tokens say
	Audience string // this gateway
	Claim    string // that names the client, "sub" if empty
	Scopes   []string
	// Keys gives the issuer's key set as JSON. It is asked again when the keys are old or
	// a token names one that is not among them.
	Keys func(ctx context.Context) ([]byte, error)

	mu     sync.Mutex
	set    *jose.JSONWebKeySet
	asked  time.Time     // when keys were last asked for, also in vain
	got    time.Time     // when they were last had
	asking chan struct{} // closed when the keys that are being asked for are there or not; nil: nobody asks
}

// tokenError is a token that does not count.
type tokenError struct {
	why   string
	mine  bool // it is one of this issuer
	scope bool // it is good, but not for this
}

func (e *tokenError) Error() string { return e.why }

// signatures are the algorithms that a token may be signed with. None of them is
// symmetric: a key set is public.
func signatures() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}
}

// verify names the client of a token. An error that is no *tokenError means that the
// issuer's keys cannot be had.
func (i *Issuer) verify(ctx context.Context, l *life, raw string, now time.Time) (string, error) {
	parsed, err := jwt.ParseSigned(raw, signatures())
	if err != nil || len(parsed.Headers) != 1 {
		return "", &tokenError{why: "the token is not known"}
	}
	var said jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&said); err != nil || said.Issuer != i.URL {
		return "", &tokenError{why: "the token is not known"}
	}
	key, err := i.key(ctx, l, parsed.Headers[0], now)
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	all := map[string]any{}
	if err := parsed.Claims(key, &claims, &all); err != nil {
		return "", &tokenError{why: "the token's signature does not hold", mine: true}
	}
	if claims.Expiry == nil {
		return "", &tokenError{why: "the token has no end", mine: true}
	}
	expected := jwt.Expected{Issuer: i.URL, AnyAudience: jwt.Audience{i.Audience}, Time: now}
	if err := claims.ValidateWithLeeway(expected, limits.IdentitySkew); err != nil {
		return "", &tokenError{why: "the token does not count: " + strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: "), mine: true}
	}
	have := scopes(all)
	for _, s := range i.Scopes {
		if !slices.Contains(have, s) {
			return "", &tokenError{why: "the token lacks the scope " + s, mine: true, scope: true}
		}
	}
	claim := i.Claim
	if claim == "" {
		claim = "sub"
	}
	name, _ := all[claim].(string)
	if !plainName(name) {
		return "", &tokenError{why: "the token does not name the client by " + claim, mine: true}
	}
	return "oidc:" + i.URL + "#" + name, nil
}

// scopes are those of the claim scope (RFC 9068) or scp.
func scopes(claims map[string]any) []string {
	var out []string
	for _, name := range []string{"scope", "scp"} {
		switch v := claims[name].(type) {
		case string:
			out = append(out, strings.Fields(v)...)
		case []any:
			for _, s := range v {
				if text, ok := s.(string); ok {
					out = append(out, text)
				}
			}
		}
	}
	return out
}

// key finds the key that a token names, in keys that are at most limits.IdentityFresh
// old, or limits.IdentityStale if the issuer cannot be asked. Who has a key that may
// still be used does not wait for what another began to ask for.
func (i *Issuer) key(ctx context.Context, l *life, header jose.Header, now time.Time) (any, error) {
	key, usable := i.known(header, now)
	if asking, began := i.ask(l, key != nil, now); asking != nil && (began || key == nil || !usable) {
		select {
		case <-asking:
		case <-ctx.Done(): // who asks goes; the keys come all the same, for the others
			return nil, errNoKeys
		}
		key, usable = i.known(header, now)
	}
	switch {
	case !usable:
		return nil, errNoKeys // asked in vain a moment ago
	case key == nil:
		return nil, &tokenError{why: "the token's key is not known", mine: true}
	}
	return key, nil
}

var errNoKeys = errors.New("the issuer's keys cannot be had")

// known gives the key of what was fetched, and whether that may still be used.
func (i *Issuer) known(header jose.Header, now time.Time) (key any, usable bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.find(header), i.set != nil && now.Sub(i.got) <= limits.IdentityStale
}

// ask sees to it that the keys are asked for if what is known is old or not enough, once
// for all who need them, and not again for limits.IdentityAgain, whatever came of it: so
// tokens with keys that nobody knows cannot make the gateway ask and ask. The asking
// belongs to the gate and not to the request that began it: a client without credentials
// that hangs up must not take the keys from the others. It gives what is closed when the
// asking is over, nil if nobody asks, and whether it began here.
func (i *Issuer) ask(l *life, have bool, now time.Time) (asking <-chan struct{}, began bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asking != nil {
		return i.asking, false
	}
	old := i.set == nil || now.Sub(i.got) > limits.IdentityFresh
	if have && !old || !i.asked.IsZero() && now.Sub(i.asked) < limits.IdentityAgain {
		return nil, false
	}
	over := make(chan struct{})
	if !l.start(func(ctx context.Context) {
		defer close(over)
		set, err := i.fetch(ctx)
		i.mu.Lock()
		defer i.mu.Unlock()
		if err == nil {
			i.set, i.got = set, now
		}
		i.asking = nil
	}) {
		return nil, false
	}
	i.asked, i.asking = now, over
	return over, true
}

// fetch asks for the keys, for no longer than limits.IdentityFetch.
func (i *Issuer) fetch(ctx context.Context) (*jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.IdentityFetch)
	defer cancel()
	raw, err := i.Keys(ctx)
	if err != nil {
		return nil, err
	}
	return parseKeys(raw)
}

// find gives the one key that the header fits, or nil; i.mu is held. A token that names no key is
// accepted only where there is no choice.
func (i *Issuer) find(header jose.Header) any {
	if i.set == nil {
		return nil
	}
	var found []jose.JSONWebKey
	for _, k := range i.set.Keys {
		if (header.KeyID == "" || k.KeyID == header.KeyID) && (k.Algorithm == "" || k.Algorithm == header.Algorithm) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return nil
	}
	return found[0].Key
}
