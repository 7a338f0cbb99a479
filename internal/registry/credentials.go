package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials reads what the text of a Docker configuration has for a registry;
// without an entry in it requests are anonymous. Errors show nothing of the text,
// which may hold secrets.
func Credentials(registry string, raw []byte) (authn.Authenticator, error) {
	fail := func(format string, args ...any) (authn.Authenticator, error) { return nil, fmt.Errorf(format, args...) }
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
