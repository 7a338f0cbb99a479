//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// audience is what Fulcio wants in a token: a token for another one buys nothing.
const audience = "sigstore"

// claims are what an identity token says about a job.
type claims = githubtest.Claims

// issuer is an OpenID Connect provider as GitHub and GitLab run one.
type issuer struct{ *githubtest.Issuer }

func newIssuer() (*issuer, error) {
	i, err := githubtest.NewIssuer()
	return &issuer{i}, err
}

// token gives the identity token of a job.
func (i *issuer) token(t *testing.T, c claims) string {
	t.Helper()
	token, err := i.Token(c, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
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
