package kms

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"os/exec"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

const (
	schemeVault   = "hashivault"
	pluginProgram = "sigstore-kms-"
)

// Variables of Vault.
const (
	envVaultAddress = "VAULT_ADDR"
	envVaultToken   = "VAULT_TOKEN"
	envVaultTransit = "TRANSIT_SECRET_ENGINE_PATH"
)

// plugins are the schemes that a program of its own serves.
func plugins() []string { return []string{"awskms", "gcpkms", "azurekms"} }

// Is says whether a name of a key is the URI of a key service.
func Is(name string) bool { return strings.Contains(name, "://") }

// Open finds the key that a URI names, and checks that it is the wanted one. A nil
// want accepts whatever key is there, for those who ask which one it is.
func Open(ctx context.Context, uri string, env map[string]string, want *signing.PublicKey) (*signing.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.SignerTimeout)
	defer cancel()
	typ := signing.ECDSAP256
	if want != nil {
		typ = want.Type()
	}
	service, err := load(ctx, uri, env, typ)
	if err != nil {
		return nil, err
	}
	public, err := service.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, failed(ctx, uri, env, err)
	}
	key, err := signing.NewRemoteKey(public, func(ctx context.Context, message []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, limits.SignerTimeout)
		defer cancel()
		sig, err := service.SignMessage(bytes.NewReader(message), options.WithContext(ctx))
		if err != nil {
			return nil, failed(ctx, uri, env, err)
		}
		return sig, nil
	})
	if err != nil {
		return nil, err
	}
	if want != nil && key.Public().Fingerprint() != want.Fingerprint() {
		return nil, protocol.Errorf(protocol.ExitUsage, signing.CodeSignerConfig, "%.200s holds key %s, not %s",
			uri, key.Public(), want).WithHint("correct the URI, or, if the key was changed on purpose, the public key beside it")
	}
	return key, nil
}

// service is what sigstore's providers have in common.
type service interface {
	signature.PublicKeyProvider
	signature.Signer
}

func load(ctx context.Context, uri string, env map[string]string, typ signing.KeyType) (service, error) {
	hash := crypto.SHA256
	if typ == signing.Ed25519 {
		hash = crypto.Hash(0)
	}
	scheme, _, _ := strings.Cut(uri, "://")
	if scheme == schemeVault {
		if env[envVaultAddress] == "" || env[envVaultToken] == "" {
			return nil, protocol.Errorf(protocol.ExitUsage, signing.CodeSignerConfig, "%s needs %s and %s", uri, envVaultAddress, envVaultToken).
				WithHint("set both")
		}
		s, err := hashivault.LoadSignerVerifier(uri, hash, options.WithRPCAuthOpts(options.RPCAuth{
			Address: env[envVaultAddress], Token: env[envVaultToken], Path: env[envVaultTransit],
		}))
		if err != nil {
			return nil, failed(ctx, uri, env, err)
		}
		return s, nil
	}
	for _, p := range plugins() {
		if p != scheme {
			continue
		}
		s, err := cliplugin.LoadSignerVerifier(ctx, uri, hash)
		if errors.Is(err, exec.ErrNotFound) {
			return nil, protocol.Errorf(protocol.ExitUsage, signing.CodeSignerConfig, "keys of %s:// need the program %s%s", p, pluginProgram, p).
				WithHint("put sigstore's KMS plug-in of that name on the PATH")
		}
		if err != nil {
			return nil, failed(ctx, uri, env, err)
		}
		return s, nil
	}
	return nil, protocol.Errorf(protocol.ExitUsage, signing.CodeSignerConfig, "%.200q names no key service that is known", uri).
		WithHint("use hashivault://NAME, awskms://…, gcpkms://… or azurekms://…, or the name of a key file")
}

// failed makes the error of a key service. Its text does not hold the token.
func failed(ctx context.Context, uri string, env map[string]string, err error) error {
	const most = 500
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	text := err.Error()
	if token := env[envVaultToken]; token != "" {
		text = strings.ReplaceAll(text, token, "[secret]")
	}
	if len(text) > most {
		text = text[:most] + " …"
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	return protocol.Errorf(protocol.ExitUnreachable, signing.CodeSignerUnreachable, "%.200s cannot be used: %s", uri, text).
		WithHint("nothing was signed; check the address, the key's name and that it may sign")
}
