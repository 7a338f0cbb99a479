package oci

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// credentials reads what a Docker configuration has for a registry; without a
// file, or an entry in it, requests are anonymous.
func credentials(registry, file string) (authn.Authenticator, error) {
	if file == "" {
		return authn.Anonymous, nil
	}
	fail := func(format string, args ...any) (authn.Authenticator, error) {
		return nil, protocol.Errorf(protocol.ExitUsage, "oci_credentials", format, args...).At(file).
			WithHint("give a file with \"auths\" that holds the credentials itself; credential helpers are programs and are not run")
	}
	f, err := os.OpenFile(file, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return fail("the Docker configuration cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, limits.OCIDockerConfig+1))
	if err != nil || len(raw) > limits.OCIDockerConfig {
		return fail("the Docker configuration cannot be read or has more than %d bytes", limits.OCIDockerConfig)
	}
	var config struct {
		Auths   map[string]json.RawMessage `json:"auths"`
		Helpers map[string]string          `json:"credHelpers"`
		Store   string                     `json:"credsStore"`
	}
	if json.Unmarshal(raw, &config) != nil { // its text could show a secret
		return fail("the Docker configuration does not parse")
	}
	for host := range config.Helpers {
		if sameRegistry(host, registry) {
			return fail("the credentials for %s come from a helper", registry)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(config.Auths)) {
		if !sameRegistry(key, registry) {
			continue
		}
		var auth authn.AuthConfig
		if json.Unmarshal(config.Auths[key], &auth) != nil {
			return fail("the credentials for %s do not parse", registry)
		}
		if auth != (authn.AuthConfig{}) {
			return authn.FromConfig(auth), nil
		}
		if config.Store != "" {
			return fail("the credentials for %s are in a store", registry)
		}
	}
	return authn.Anonymous, nil
}

// sameRegistry says whether a key of a Docker configuration means a registry:
// its host, or the URL of its API. A path below it means less than the registry.
func sameRegistry(key, registry string) bool {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ := strings.Cut(key, "/")
	if path = strings.Trim(path, "/"); path != "" && path != "v1" && path != "v2" {
		return false
	}
	r, err := name.NewRegistry(host)
	return err == nil && host != "" && r.RegistryStr() == registry
}
