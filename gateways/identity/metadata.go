package identity

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// MetadataPath is where a resource's metadata begin (RFC 9728 section 3); the path of
// the resource follows.
const MetadataPath = "/.well-known/oauth-protected-resource"

// MetadataURL gives the URL of a resource's metadata: MetadataPath stands between its
// host and its path.
// SPEC: RFC 9728 section 3.1
func MetadataURL(resource string) (string, error) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(resource, "\"\\") {
		return "", errors.New("the URL of the resource is none")
	}
	return u.Scheme + "://" + u.Host + MetadataPath + strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

// Metadata serves the protected-resource metadata of an endpoint: which issuers'
// tokens it takes, and which scopes they need.
func (g *Gate) Metadata(resource string) http.Handler {
	doc := struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers,omitempty"`
		Scopes   []string `json:"scopes_supported,omitempty"`
		Methods  []string `json:"bearer_methods_supported"`
		Name     string   `json:"resource_name"`
	}{Resource: resource, Methods: []string{"header"}, Name: "CabinCrew MCP gateway"}
	seen := map[string]bool{}
	for _, i := range g.options.Issuers {
		doc.Servers = append(doc.Servers, i.URL)
		for _, s := range i.Scopes {
			if !seen[s] {
				seen[s] = true
				doc.Scopes = append(doc.Scopes, s)
			}
		}
	}
	body, _ := json.Marshal(doc) //nolint:errchkjson // strings encode
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("Access-Control-Allow-Origin", "*") // it is public, and clients in pages need it
		_, _ = w.Write(body)                               // the client may be gone
	})
}
