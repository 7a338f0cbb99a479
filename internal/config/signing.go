package config

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
)

// Signing says how plans and take-offs are signed, and whose signatures count;
// nothing set means not at all.
type Signing struct {
	Key          string // a file or a key service's URI
	Keyless      bool
	FulcioURL    string
	TimestampURL string
	RekorURL     string
	Public       bool // public instances may be used
	// IdentityToken is the variable with the identity token, where a CI system's own
	// are not to be used.
	IdentityToken    string
	TrustedRoot      string // a file
	RequireTimestamp bool
	NoLogEntry       bool // insecure_no_log_entry
	NoSCT            bool // insecure_no_sct
	Trusted          Trusted
}

// On says whether plans are signed.
func (s Signing) On() bool { return s.Key != "" || s.Keyless }

// KeyService says whether the key is held by a service.
func (s Signing) KeyService() bool { return strings.Contains(s.Key, "://") }

// Trusted are those whose signatures of plans and take-offs count.
type Trusted struct {
	Keys       []TrustedKey
	Identities []TrustedIdentity
}

// TrustedKey is a public key with the time in which it counts.
type TrustedKey struct {
	Where     string // file:line:column, for messages
	Key       string // clean slash path of the public key, relative to the configuration
	NotBefore time.Time
	NotAfter  time.Time
}

// TrustedIdentity is what a certificate must say; see docs/configuration.md.
type TrustedIdentity struct {
	Where             string
	Issuer            string
	SAN               string
	SignerURI         string
	SignerDigests     []string
	RepositoryID      string
	OwnerID           string
	RunnerEnvironment string
	Events            []string
	Ref               string
	Signs             []string // of the constants; all where none is listed
}

// What an identity may sign.
const (
	SignsPlan    = "plan"
	SignsTakeOff = "take-off" // and the approvals that people gave on a forge
)

var (
	version   = lazily(`^v?[0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,5}(?:-[0-9A-Za-z.-]{1,64})?$`)
	commitID  = lazily(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	forgeID   = lazily(`^[0-9]{1,20}$`)
	sourceVar = lazily(`^env:[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

func (r *reader) signing(top *object) Signing {
	n, p := top.at("signing")
	o := r.object(n, p, "key", "keyless", "fulcio_url", "timestamp_url", "rekor_url", "public", "identity_token", "trusted_root", "require_timestamp",
		"insecure_no_log_entry", "insecure_no_sct", "trusted")
	s := Signing{
		Key: o.text("key", "", signingKey), FulcioURL: o.text("fulcio_url", "", service), TimestampURL: o.text("timestamp_url", "", service),
		RekorURL:      o.text("rekor_url", "", service),
		IdentityToken: strings.TrimPrefix(o.text("identity_token", "", matching(sourceVar, "the source of a token, such as env:IDENTITY_TOKEN")), sourceEnv),
	}
	s.Keyless, _ = o.bool("keyless")
	s.Public, _ = o.bool("public")
	s.RequireTimestamp, _ = o.bool("require_timestamp")
	s.NoLogEntry, _ = o.bool("insecure_no_log_entry")
	s.NoSCT, _ = o.bool("insecure_no_sct")
	if s.TrustedRoot = o.text("trusted_root", "", inside); s.TrustedRoot != "" {
		s.TrustedRoot = path.Clean(s.TrustedRoot)
	}
	s.Trusted = r.trusted(o)
	if s.Keyless && s.Key != "" {
		at, where := o.at("keyless")
		r.failf(at, "config_value", "remove one of key and keyless", "%s cannot be true beside %s.key", where, p)
	}
	at, where := o.at("trusted_root")
	if at == nil {
		at, where = n, p
	}
	if (s.Keyless || len(s.Trusted.Identities) > 0 || s.RequireTimestamp || s.TimestampURL != "" || s.RekorURL != "") && s.TrustedRoot == "" {
		r.failf(at, "config_value", "pin the authorities: trusted_root: trusted_root.json", "%s has no trusted_root, by which certificates and time stamps are verified", where)
	}
	if s.Keyless && len(s.Trusted.Identities) == 0 {
		r.failf(at, "config_value", "say whose signatures count under signing.trusted.identities", "%s signs without a key, and no identity is trusted", p)
	}
	if s.KeyService() && len(s.Trusted.Keys) == 0 {
		r.failf(at, "config_value", "put the public part of the key into the repository and name it under signing.trusted.keys", "%s signs with a key service, and no key is trusted", p)
	}
	return s
}

func (r *reader) trusted(top *object) Trusted {
	n, p := top.at("trusted")
	o := r.object(n, p, "keys", "identities")
	out := Trusted{Keys: []TrustedKey{}, Identities: []TrustedIdentity{}}
	o.each("keys", limits.TrustedKeys, func(n *yaml.Node, p string) {
		k := r.object(n, p, "key", "not_before", "not_after")
		k.require("key")
		key := TrustedKey{Where: r.where(n), Key: k.text("key", "", inside), NotBefore: k.time("not_before"), NotAfter: k.time("not_after")}
		if key.Key != "" {
			key.Key = path.Clean(key.Key)
		}
		if !key.NotBefore.IsZero() && !key.NotAfter.IsZero() && !key.NotAfter.After(key.NotBefore) {
			r.failf(n, "config_value", "correct the times", "%s is never valid: not_after is not after not_before", p)
		}
		out.Keys = append(out.Keys, key)
	})
	o.each("identities", limits.TrustedIdentities, func(n *yaml.Node, p string) {
		i := r.object(n, p, "issuer", "san", "signer_uri", "signer_digests", "repository_id", "owner_id", "runner_environment", "events", "ref", "signs")
		i.require("issuer")
		i.exactlyOne("san", "signer_uri")
		out.Identities = append(out.Identities, TrustedIdentity{
			Where: r.where(n), Issuer: i.text("issuer", "", service), SAN: i.text("san", "", plain), SignerURI: i.text("signer_uri", "", plain),
			SignerDigests: i.texts("signer_digests", 0, true, matching(commitID, "a full commit id")),
			RepositoryID:  i.text("repository_id", "", matching(forgeID, "a forge's id, in quotes")), OwnerID: i.text("owner_id", "", matching(forgeID, "a forge's id, in quotes")),
			RunnerEnvironment: i.text("runner_environment", "", plain), Events: i.texts("events", 0, true, plain), Ref: i.text("ref", "", plain),
			Signs: i.texts("signs", 0, true, oneOf(SignsPlan, SignsTakeOff)),
		})
	})
	return out
}

// service checks the URL of a service.
func service(s string) (string, string) {
	if wrong, hint := plain(s); wrong != "" {
		return wrong, hint
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Sprintf("is not the URL of a service: %q", short(s)), "write https://HOST or https://HOST/PATH"
	}
	if u.User != nil {
		return "holds credentials", "leave them out"
	}
	return "", ""
}

func resolvedSigning(s Signing) map[string]any {
	return map[string]any{
		"key": s.Key, "keyless": s.Keyless, "fulcio_url": s.FulcioURL, "timestamp_url": s.TimestampURL, "rekor_url": s.RekorURL, "public": s.Public,
		"identity_token": s.IdentityToken, "trusted_root": s.TrustedRoot, "require_timestamp": s.RequireTimestamp,
		"insecure_no_log_entry": s.NoLogEntry, "insecure_no_sct": s.NoSCT,
		"trusted": map[string]any{
			"keys": each(s.Trusted.Keys, func(k TrustedKey) map[string]any {
				return map[string]any{"key": k.Key, "not_before": instant(k.NotBefore), "not_after": instant(k.NotAfter)}
			}),
			"identities": each(s.Trusted.Identities, func(i TrustedIdentity) map[string]any {
				return map[string]any{
					"issuer": i.Issuer, "san": i.SAN, "signer_uri": i.SignerURI, "signer_digests": texts(slices.Sorted(slices.Values(i.SignerDigests))),
					"repository_id": i.RepositoryID, "owner_id": i.OwnerID, "runner_environment": i.RunnerEnvironment,
					"events": texts(slices.Sorted(slices.Values(i.Events))), "ref": i.Ref, "signs": texts(slices.Sorted(slices.Values(i.Signs))),
				}
			}),
		},
	}
}

// Policy is what a file says of whose signatures count, apart from a configuration:
// for those who verify flights and plan none.
type Policy struct {
	Name      string // the file's name, for messages
	Signing   Signing
	Approvals Approvals
}

// ParsePolicy reads a file with the keys signing and approvals, as a configuration
// has them.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	r := &reader{name: name}
	root := r.parse(data)
	if root == nil || !r.structure(root, 0) {
		return nil, r.err()
	}
	o := r.object(root, "", "version", "signing", "approvals")
	o.require("version", "signing")
	if v := o.int("version", Version, 0, maxSafe); v != Version {
		at, _ := o.at("version")
		r.failf(at, "config_version", fmt.Sprintf("this program reads version %d; use a program that knows version %d", Version, v), "version %d of the policy is not known", v)
	}
	p := &Policy{Name: name, Signing: r.signing(o), Approvals: r.approvals(o)}
	if at, _ := o.at("signing"); at != nil && len(p.Signing.Trusted.Keys)+len(p.Signing.Trusted.Identities) == 0 {
		r.failf(at, "config_value", "name keys or identities under signing.trusted", "the policy trusts nobody")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}
