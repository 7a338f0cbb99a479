package githubtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Claims are what an identity token says about a job.
type Claims map[string]any

// With gives the claims with some others.
func (c Claims) With(other Claims) Claims {
	all := maps.Clone(c)
	maps.Copy(all, other)
	return all
}

// Issuer is an OpenID Connect provider as GitHub and GitLab run one. Jobs ask it for
// tokens as GitHub's do: at a URL, with a bearer token that says which job asks. Its
// tokens carry the machine's time, since who checks them knows no other.
type Issuer struct {
	server *httptest.Server
	key    *rsa.PrivateKey
	mu     sync.Mutex
	jobs   map[string]Claims // by bearer token
}

// NewIssuer starts an issuer; Close ends it.
func NewIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	i := &Issuer{key: key, jobs: map[string]Claims{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /request", i.request)
	i.server = httptest.NewServer(mux)
	return i, nil
}

// Close ends the issuer.
func (i *Issuer) Close() { i.server.Close() }

// URL is the issuer's name.
func (i *Issuer) URL() string { return i.server.URL }

func (i *Issuer) configuration(w http.ResponseWriter, _ *http.Request) {
	tell(w, obj{
		"issuer": i.URL(), "jwks_uri": i.URL() + "/keys", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (i *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	text := base64.RawURLEncoding.EncodeToString
	tell(w, obj{"keys": []any{obj{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
		"n": text(i.key.N.Bytes()), "e": text(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// request answers a job that asks for its token.
func (i *Issuer) request(w http.ResponseWriter, r *http.Request) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i.mu.Lock()
	job, known := i.jobs[bearer]
	i.mu.Unlock()
	if !known {
		http.Error(w, "no such job", http.StatusUnauthorized)
		return
	}
	token, err := i.Token(job, r.URL.Query().Get("audience"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	tell(w, obj{"value": token})
}

func tell(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // who asked went away
	}
}

// Token makes an identity token for an audience.
func (i *Issuer) Token(c Claims, audience string) (string, error) {
	now := time.Now().Unix()
	c = c.With(Claims{"iss": i.URL(), "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 300, "jti": rand.Text()})
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString
	token := text([]byte(`{"alg":"RS256","typ":"JWT","kid":"one"}`)) + "." + text(body)
	sum := sha256.Sum256([]byte(token))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	return token + "." + text(sig), err
}

// Job lets a job ask, and gives the variables that tell it how.
func (i *Issuer) Job(c Claims) []string {
	bearer := rand.Text()
	i.mu.Lock()
	i.jobs[bearer] = c
	i.mu.Unlock()
	return []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + i.URL() + "/request?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + bearer}
}

// Claims are those that GitHub puts into the identity of a job of this run, on a ref;
// a job of a reusable workflow is one of the first that the run calls. All are text.
func (n *Run) Claims(ref string) Claims {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	r := n.Repo
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	own := r.FullName() + "/" + n.Workflow + "@" + ref
	job, sha := own, n.SHA
	if len(n.Calls) > 0 {
		job, sha = n.Calls[0], strings.Repeat("c", 40)
	}
	text := func(id int64) string { return strconv.FormatInt(id, 10) }
	c := Claims{
		"sub": "repo:" + r.FullName() + ":ref:" + ref, "ref": ref, "ref_type": "branch", "ref_protected": strconv.FormatBool(r.protected[strings.TrimPrefix(ref, "refs/heads/")] != nil), "sha": n.SHA,
		"repository": r.FullName(), "repository_id": text(r.ID), "repository_owner": r.Owner.Login, "repository_owner_id": text(r.Owner.ID), "repository_visibility": visibility,
		"event_name": n.Event, "base_ref": "", "head_ref": "", "workflow": n.Workflow, "workflow_ref": own, "workflow_sha": n.SHA, "job_workflow_ref": job, "job_workflow_sha": sha,
		"run_id": text(n.ID), "run_number": strconv.Itoa(n.Number), "run_attempt": strconv.Itoa(len(n.attempts)), "runner_environment": "github-hosted",
	}
	if n.Actor != nil {
		c["actor"], c["actor_id"] = n.Actor.Login, text(n.Actor.ID)
	}
	if n.Event == "pull_request" {
		c["sub"] = "repo:" + r.FullName() + ":pull_request"
		c["head_ref"], c["base_ref"] = n.Branch, r.Default
	}
	return c
}
