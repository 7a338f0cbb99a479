package identity

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// minRSA is the length in bits that an RSA key must have at the least.
const minRSA = 2048

// parseKeys reads a key set and keeps what can verify: public keys, for signatures.
func parseKeys(raw []byte) (*jose.JSONWebKeySet, error) {
	if len(raw) > limits.IdentityKeys {
		return nil, errors.New("the key set is too large")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("the key set cannot be read: %w", err)
	}
	if len(set.Keys) > limits.IdentityKeyCount {
		return nil, errors.New("the key set has too many keys")
	}
	var out jose.JSONWebKeySet
	for _, k := range set.Keys {
		weak, isRSA := k.Key.(*rsa.PublicKey)
		if !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" || isRSA && weak.N.BitLen() < minRSA {
			continue
		}
		out.Keys = append(out.Keys, k)
	}
	if len(out.Keys) == 0 {
		return nil, errors.New("the key set has no public key for signatures")
	}
	return &out, nil
}

// Fetcher asks an issuer for its keys.
type Fetcher struct {
	Client *http.Client
	Issuer string
	// URL is where the key set is; "": where the issuer's metadata say.
	URL string
}

// Keys implements Issuer.Keys.
func (f *Fetcher) Keys(ctx context.Context) ([]byte, error) {
	at := f.URL
	if at == "" {
		var err error
		if at, err = f.discover(ctx); err != nil {
			return nil, err
		}
	}
	return f.get(ctx, at)
}

// discover reads the issuer's metadata: OpenID Connect's, or those of RFC 8414.
func (f *Fetcher) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(f.Issuer)
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := u.Scheme + "://" + u.Host
	var errs []error
	for _, at := range []string{base + path + "/.well-known/openid-configuration", base + "/.well-known/oauth-authorization-server" + path} {
		raw, err := f.get(ctx, at)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		tree, err := protocol.DecodeAny(raw)
		if err != nil {
			return "", fmt.Errorf("the metadata of the issuer cannot be read: %w", err)
		}
		m, _ := tree.(map[string]any)
		if issuer, _ := m["issuer"].(string); issuer != f.Issuer {
			return "", errors.New("the metadata are those of another issuer")
		}
		keys, _ := m["jwks_uri"].(string)
		if keys == "" {
			return "", errors.New("the metadata name no key set")
		}
		return keys, nil
	}
	return "", errors.Join(errs...)
}

func (f *Fetcher) get(ctx context.Context, at string) ([]byte, error) {
	if err := secureURL(at); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	client := *f.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limits.IdentityKeys+1))
	if err == nil && len(raw) > limits.IdentityKeys {
		err = errors.New("the issuer's answer is too large")
	}
	return raw, err
}

// secureURL accepts https, and http on this machine.
func secureURL(at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("the URL of the issuer's keys is none")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (ip != nil && ip.IsLoopback() || u.Hostname() == "localhost") {
		return nil
	}
	return errors.New("the issuer's keys are not to be had over https")
}
