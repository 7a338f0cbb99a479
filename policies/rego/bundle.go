package rego

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader/filter"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// BundleKey is the public key that must have signed a bundle.
type BundleKey struct {
	Where string // the file that it came from, for messages
	PEM   []byte
	// Scope is what the signature's claim "scope" must be; empty: there must be none.
	Scope string
	// Now tells the time, for signatures that end; nil means time.Now.
	Now func() time.Time
}

// signaturesFile holds a bundle's signature. It is the only file that is not signed.
const signaturesFile = ".signatures.json"

// Bundle reads an OPA bundle (.tar.gz) and gives its files, sorted by path. OPA's
// own code verifies it: every file must be listed in the one signature, and every
// file that is listed must be there. Without a key nothing is verified: then the
// bytes must be known by their digest. where names the bundle for messages.
func Bundle(raw []byte, key *BundleKey, where string) ([]policies.SetFile, error) {
	r := newReading(Options{})
	defer r.begin(where)()
	return readWithin(context.Background(), r, func(context.Context) ([]policies.SetFile, error) { return readBundle(raw, key, where) })
}

func readBundle(raw []byte, key *BundleKey, where string) ([]policies.SetFile, error) {
	files, err := unpackBundle(raw, where)
	if err != nil {
		return nil, err
	}
	r := bundle.NewCustomReader(&bundleFiles{files: files}).WithLazyLoadingMode(false).
		WithSizeLimitBytes(limits.PolicyFile).WithRegoVersion(ast.RegoV1).WithCapabilities(capabilities()).
		WithSkipBundleVerification(key == nil)
	if key != nil {
		config, err := verifyBundle(files, key, where)
		if err != nil {
			return nil, err
		}
		r = r.WithBundleVerificationConfig(config)
	}
	b, err := r.Read()
	if err != nil {
		return nil, unreadableBundle(files, where, err)
	}
	if version := oldVersion(&b.Manifest); version != "" {
		return nil, oldRego(where, "the bundle's manifest says of %s that it is in Rego v0", version)
	}
	return files, nil
}

func badBundle(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_bundle_invalid", format, args...).At(where)
}

func badSignature(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_bundle_signature", format, args...).At(where).
		WithHint("nothing of it is used; get the bundle from its author again, or have it signed anew (opa sign, opa build --signing-key)")
}

func oldRego(where, format string, args ...any) *protocol.Error {
	return badBundle(where, format, args...).WithHint("policies are Rego v1: rewrite them with opa fmt --write --v0-v1 and build the bundle again")
}

// oldVersion says what of a bundle is no Rego v1 by its manifest, or "".
func oldVersion(m *bundle.Manifest) string {
	if m.RegoVersion != nil && *m.RegoVersion != ast.RegoV1.Int() {
		return "Rego v1"
	}
	for _, name := range slices.Sorted(maps.Keys(m.FileRegoVersions)) {
		if m.FileRegoVersions[name] != ast.RegoV1.Int() {
			return fmt.Sprintf("%q", clean(name))
		}
	}
	return ""
}

// unreadableBundle says why OPA does not read a bundle whose files are as signed.
func unreadableBundle(files []policies.SetFile, where string, err error) error {
	var list ast.Errors
	if !errors.As(err, &list) {
		return badBundle(where, "OPA does not read the bundle: %s", clean(err.Error())).
			WithHint("mend it and build it again with: opa build -b DIRECTORY")
	}
	for _, f := range files {
		if !f.Rego() {
			continue
		}
		at := where + "/" + f.Path
		_, err := ast.ParseModuleWithOpts(at, string(f.Data), ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
		if err == nil {
			continue
		}
		if _, old := ast.ParseModuleWithOpts(at, string(f.Data), ast.ParserOptions{RegoVersion: ast.RegoV0}); old == nil {
			return oldRego(at, "the module is written in Rego v0")
		}
		return astError(at, err)
	}
	return oldRego(where, "the bundle's manifest says of Rego v1 that it is in Rego v0")
}

// verifyBundle checks signature and files of a bundle with OPA's verifier, and
// gives the configuration with which OPA's reader does so again.
func verifyBundle(files []policies.SetFile, key *BundleKey, where string) (*bundle.VerificationConfig, error) {
	allowed, err := keyAlgorithms(key)
	if err != nil {
		return nil, err
	}
	signed, err := signatures(files, where)
	if err != nil {
		return nil, err
	}
	token, err := readToken(signed.Signatures[0])
	if err != nil {
		return nil, badSignature(where, "the bundle's signature cannot be read: %s", clean(err.Error()))
	}
	alg := token.alg
	// The signature says how it was made, the key says how it may have been made.
	if !slices.Contains(allowed, alg) {
		return nil, badSignature(where, "the bundle is signed by the algorithm %q, and the key %s is for %s", clean(alg), key.Where, strings.Join(allowed, ", "))
	}
	// There is one key, whatever name for it the signature has.
	const id = "configured"
	config := bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{id: {Key: string(key.PEM), Algorithm: alg, Scope: key.Scope}}, id, key.Scope, nil)
	listed, err := bundle.VerifyBundleSignature(signed, config)
	if err != nil {
		return nil, badSignature(where, "the bundle's signature does not count: %s", clean(err.Error()))
	}
	// OPA's verifier does not look at the time.
	if err := token.inTime(key.Now); err != nil {
		return nil, badSignature(where, "the bundle's signature does not count: %s", clean(err.Error()))
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if !strongHash(listed[name].Algorithm) {
			return nil, badSignature(where, "the bundle's signature has %q hashed by %q, which does not hold", clean(name), clean(listed[name].Algorithm))
		}
	}
	for _, f := range files {
		if f.Path == signaturesFile {
			continue
		}
		if err := bundle.VerifyBundleFile(f.Path, *bytes.NewBuffer(slices.Clone(f.Data)), listed); err != nil {
			return nil, badSignature(where, "the bundle is not what was signed: %s", clean(err.Error()))
		}
	}
	if len(listed) > 0 {
		return nil, badSignature(where, "the bundle lacks files that were signed: %s", clean(strings.Join(slices.Sorted(maps.Keys(listed)), ", ")))
	}
	return config, nil
}

// signatures gives what .signatures.json holds: one signature for OPA's own verifier.
func signatures(files []policies.SetFile, where string) (bundle.SignaturesConfig, error) {
	var signed bundle.SignaturesConfig
	i := slices.IndexFunc(files, func(f policies.SetFile) bool { return f.Path == signaturesFile })
	if i < 0 {
		return signed, badSignature(where, "the bundle is not signed: it has no %s", signaturesFile)
	}
	if _, err := protocol.DecodeAny(files[i].Data); err != nil {
		return signed, badSignature(where, "%s cannot be read: %s", signaturesFile, clean(err.Error()))
	}
	if err := json.Unmarshal(files[i].Data, &signed); err != nil {
		return signed, badSignature(where, "%s cannot be read: %s", signaturesFile, clean(err.Error()))
	}
	if len(signed.Signatures) != 1 || signed.Plugin != "" {
		return signed, badSignature(where, "%s has %d signatures and the verifier %q; one signature and no verifier count", signaturesFile, len(signed.Signatures), clean(signed.Plugin))
	}
	return signed, nil
}

func strongHash(name string) bool {
	return slices.Contains([]string{string(bundle.SHA256), string(bundle.SHA384), string(bundle.SHA512), string(bundle.SHA512256)}, name)
}

// token is what matters of a signature beside what OPA's verifier looks at.
type token struct {
	alg string
	exp any // nil if it has no end
}

// readToken reads how a token says that it was signed, and until when it counts.
func readToken(text string) (token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return token{}, errors.New("it is no token")
	}
	head, err := tokenPart(parts[0])
	if err != nil {
		return token{}, err
	}
	alg, ok := head["alg"].(string)
	if !ok {
		return token{}, errors.New("its header has no alg")
	}
	if _, critical := head["crit"]; critical {
		// RFC 7515, 4.1.11: who does not know an extension that is critical must refuse.
		return token{}, errors.New("its header has crit, extensions that must be understood, and none is understood here")
	}
	claims, err := tokenPart(parts[1])
	return token{alg: alg, exp: claims["exp"]}, err
}

func tokenPart(text string) (map[string]any, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	v, err := protocol.DecodeAny(raw)
	return asObject(v), err
}

// inTime says whether a token has not ended.
func (t token) inTime(now func() time.Time) error {
	if t.exp == nil {
		return nil
	}
	number, ok := t.exp.(json.Number)
	if !ok {
		return errors.New("its end (exp) is no number")
	}
	end, err := number.Float64()
	if err != nil {
		return errors.New("its end (exp) is no number that can be read")
	}
	if now == nil {
		now = time.Now
	}
	if float64(now().Unix()) >= end {
		return fmt.Errorf("it ended (exp %s)", number)
	}
	return nil
}

// keyAlgorithms gives the algorithms that a public key is for. A secret that both
// sides know (HS256 and the like) proves nothing about who signed, and is never one.
func keyAlgorithms(key *BundleKey) ([]string, error) {
	bad := func(format string, args ...any) error {
		return protocol.Errorf(protocol.ExitUsage, "policy_bundle_key", "the key of the bundle "+format, args...).At(key.Where).
			WithHint("name a PEM file with one public key, such as openssl pkey -pubout writes")
	}
	block, rest := pem.Decode(key.PEM)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, bad("is not one PEM block")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, bad("is a %q, not a public key", clean(block.Type))
	}
	if err != nil {
		return nil, bad("cannot be read: %w", err)
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < limits.PolicyBundleRSABits {
			return nil, bad("has %d bits, less than %d", bits, limits.PolicyBundleRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if alg, ok := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Params().BitSize]; ok {
			return []string{alg}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, bad("is of a kind that signs no bundles")
}

// bundleFiles hands OPA's reader the files that were unpacked, and no others.
type bundleFiles struct {
	files []policies.SetFile
	next  int
}

var _ bundle.DirectoryLoader = (*bundleFiles)(nil)

// NextFile gives the next file, or io.EOF.
func (b *bundleFiles) NextFile() (*bundle.Descriptor, error) {
	if b.next == len(b.files) {
		return nil, io.EOF
	}
	f := b.files[b.next]
	b.next++
	name := path.Join("/", f.Path)
	return bundle.NewDescriptor(name, name, bytes.NewBuffer(slices.Clone(f.Data))), nil
}

// WithFilter does nothing: every file counts.
func (b *bundleFiles) WithFilter(filter.LoaderFilter) bundle.DirectoryLoader { return b }

// WithPathFormat does nothing: paths begin with a slash.
func (b *bundleFiles) WithPathFormat(bundle.PathFormat) bundle.DirectoryLoader { return b }

// WithSizeLimitBytes does nothing: sizes were limited when the archive was read.
func (b *bundleFiles) WithSizeLimitBytes(int64) bundle.DirectoryLoader { return b }

// WithFollowSymlinks does nothing: there are no links.
func (b *bundleFiles) WithFollowSymlinks(bool) bundle.DirectoryLoader { return b }
