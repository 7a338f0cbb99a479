//go:build e2e

package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// audience is what Fulcio wants in a token: a token for another one buys nothing.
const audience = "sigstore"

// claims are what an identity token says about a job.
type claims map[string]any

// with gives the claims with some others.
func (c claims) with(other claims) claims {
	all := maps.Clone(c)
	maps.Copy(all, other)
	return all
}

// issuer is an OpenID Connect provider as GitHub and GitLab run one. Jobs ask it for
// tokens as GitHub's do: at a URL, with a bearer token that says which job asks.
type issuer struct {
	server *httptest.Server
	key    *rsa.PrivateKey
	mu     sync.Mutex
	jobs   map[string]claims // by bearer token
}

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	i := &issuer{key: key, jobs: map[string]claims{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /request", i.request)
	i.server = httptest.NewServer(mux)
	return i, nil
}

func (i *issuer) url() string { return i.server.URL }

func (i *issuer) configuration(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{
		"issuer": i.url(), "jwks_uri": i.url() + "/keys", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	text := base64.RawURLEncoding.EncodeToString
	reply(w, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
		"n": text(i.key.N.Bytes()), "e": text(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// request answers a job that asks for its token.
func (i *issuer) request(w http.ResponseWriter, r *http.Request) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i.mu.Lock()
	job, ok := i.jobs[bearer]
	i.mu.Unlock()
	if !ok {
		http.Error(w, "no such job", http.StatusUnauthorized)
		return
	}
	token, err := i.sign(job, r.URL.Query().Get("audience"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, map[string]string{"value": token})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked went away
}

// sign makes an identity token.
func (i *issuer) sign(c claims, to string) (string, error) {
	now := time.Now().Unix()
	c = c.with(claims{"iss": i.url(), "aud": to, "iat": now, "nbf": now - 5, "exp": now + 300, "jti": rand.Text()})
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

// token gives the identity token of a job.
func (i *issuer) token(t *testing.T, c claims) string {
	t.Helper()
	token, err := i.sign(c, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// job lets a job ask, and gives the variables that tell it how.
func (i *issuer) job(c claims) []string {
	bearer := rand.Text()
	i.mu.Lock()
	i.jobs[bearer] = c
	i.mu.Unlock()
	return []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + i.url() + "/request?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + bearer}
}

// What the jobs of the tests belong to.
const (
	head      = "3333333333333333333333333333333333333333"
	planSHA   = "4444444444444444444444444444444444444444"
	workflow  = "cabincrew/action/.github/workflows/plan.yml"
	planRef   = workflow + "@refs/tags/v1"
	planner   = "https://github.com/" + planRef
	pipeline  = "gitlab.com/acme/infra//.gitlab-ci.yml@refs/heads/main"
	gitlabCI  = "https://" + pipeline
	repoID    = "1029384756" // ten bytes, a line feed as a length
	ownerID   = "99"
	projectID = "20"
	groupID   = "72"
)

// github are the claims of a job of GitHub Actions that runs the reusable workflow
// which plans, called from acme/infra's main branch. GitHub's claims are all text.
func github() claims {
	return claims{
		"sub": "repo:acme/infra:ref:refs/heads/main", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true", "sha": head,
		"repository": "acme/infra", "repository_id": repoID, "repository_owner": "acme", "repository_owner_id": ownerID, "repository_visibility": "private",
		"actor": "alice", "actor_id": "7", "event_name": "push", "base_ref": "", "head_ref": "",
		"workflow": "ci", "workflow_ref": "acme/infra/.github/workflows/ci.yml@refs/heads/main", "workflow_sha": head,
		"job_workflow_ref": planRef, "job_workflow_sha": planSHA,
		"run_id": "8001", "run_number": "17", "run_attempt": "1", "runner_environment": "github-hosted",
	}
}

// gitlab are the claims of a job of GitLab on acme/infra's main branch.
func gitlab() claims {
	return claims{
		"sub": "project_path:acme/infra:ref_type:branch:ref:main", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "sha": head,
		"project_id": projectID, "project_path": "acme/infra", "namespace_id": groupID, "namespace_path": "acme", "project_visibility": "private",
		"user_id": "7", "user_login": "alice", "user_email": "alice@example.com", "user_access_level": "developer", "user_identities": []any{},
		"pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "runner_id": 1, "runner_environment": "gitlab-hosted",
		"ci_config_ref_uri": pipeline, "ci_config_sha": head, "groups_direct": []string{"acme"},
	}
}

// fulcioConfig is what Fulcio is told about both issuers. The templates are those of
// Fulcio's own config/identity/config.yaml for these two providers.
func fulcioConfig(github, gitlab string) string {
	entry := func(url, provider string) string {
		return fmt.Sprintf("  %s:\n    issuer-url: %s\n    client-id: %s\n    type: ci-provider\n    ci-provider: %s\n", url, url, audience, provider)
	}
	return "oidc-issuers:\n" + entry(github, "github-workflow") + entry(gitlab, "gitlab-pipeline") + ciMetadata
}

const ciMetadata = `ci-issuer-metadata:
  github-workflow:
    default-template-values:
      url: "https://github.com"
      environment: ""
    extension-templates:
      github-workflow-trigger: "event_name"
      github-workflow-sha: "sha"
      github-workflow-name: "workflow"
      github-workflow-repository: "repository"
      github-workflow-ref: "ref"
      build-signer-uri: "{{ .url }}/{{ .job_workflow_ref }}"
      build-signer-digest: "job_workflow_sha"
      runner-environment: "runner_environment"
      source-repository-uri: "{{ .url }}/{{ .repository }}"
      source-repository-digest: "sha"
      source-repository-ref: "ref"
      source-repository-identifier: "repository_id"
      source-repository-owner-uri: "{{ .url }}/{{ .repository_owner }}"
      source-repository-owner-identifier: "repository_owner_id"
      build-config-uri: "{{ .url }}/{{ .workflow_ref }}"
      build-config-digest: "workflow_sha"
      build-trigger: "event_name"
      run-invocation-uri: "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}"
      source-repository-visibility-at-signing: "repository_visibility"
      deployment-environment: "environment"
    subject-alternative-name-template: "{{ .url }}/{{ .job_workflow_ref }}"
  gitlab-pipeline:
    default-template-values:
      url: "https://gitlab.com"
      environment: ""
    extension-templates:
      build-signer-uri: "https://{{ .ci_config_ref_uri }}"
      build-signer-digest: "ci_config_sha"
      runner-environment: "runner_environment"
      source-repository-uri: "{{ .url }}/{{ .project_path }}"
      source-repository-digest: "sha"
      source-repository-ref: refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}
      source-repository-identifier: "project_id"
      source-repository-owner-uri: "{{ .url }}/{{ .namespace_path }}"
      source-repository-owner-identifier: "namespace_id"
      build-config-uri: "https://{{ .ci_config_ref_uri }}"
      build-config-digest: "ci_config_sha"
      build-trigger: "pipeline_source"
      run-invocation-uri: "{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}"
      source-repository-visibility-at-signing: project_visibility
      deployment-environment: "environment"
    subject-alternative-name-template: "https://{{ .ci_config_ref_uri }}"
`
