package config

import "strings"

// unfilled begins a value that people must fill in. The reader refuses it and says
// what is wanted, so that nothing is judged by a guess.
const unfilled = "<fill in: "

// OnGitHub is what `cabincrew init --for github` knows of a repository. What is empty
// becomes a value that the reader refuses until it is filled in.
type OnGitHub struct {
	Workflow     string
	RepositoryID string
	OwnerID      string
	Public       bool   // everybody may know who signs what, since everybody may see the repository
	Commit       string // of the workflows that plan and take off; "" is their tag v1
}

// TemplateGitHub gives the configuration that `cabincrew init --for github` writes.
func TemplateGitHub(o OnGitHub) []byte {
	if !workflowName().MatchString(o.Workflow) {
		o.Workflow = "main"
	}
	fill := func(value, how string) string {
		if value == "" {
			return `"` + unfilled + how + `>"`
		}
		return `"` + value + `"`
	}
	public := "true"
	if !o.Public {
		public = fill("", "true publishes the repository's name and each commit for good; otherwise name your own fulcio_url and timestamp_url and remove this line")
	}
	signer := func(file string) string {
		uri := "https://github.com/cabincrew/action/.github/workflows/" + file
		if o.Commit == "" {
			return "san: " + uri + "@refs/tags/v1"
		}
		return "signer_uri: " + uri + "\n        signer_digests: [\"" + o.Commit + "\"]"
	}
	r := strings.NewReplacer("@SCHEMA@", SchemaURL, "@WORKFLOW@", quoteIfNeeded(o.Workflow), "@PUBLIC@", public,
		"@FLIGHT-PLAN@", signer("flight-plan.yml"), "@TAKE-OFF@", signer("take-off.yml"),
		"@REPOSITORY@", fill(o.RepositoryID, "the repository's number, in quotes; gh api repos/OWNER/NAME --jq .id prints it"),
		"@OWNER@", fill(o.OwnerID, "its owner's number, in quotes; gh api repos/OWNER/NAME --jq .owner.id prints it"))
	return []byte(r.Replace(templateGitHub))
}

const templateGitHub = `# yaml-language-server: $schema=@SCHEMA@
# Each pull request is planned, judged and signed; reviewers approve; on merge exactly
# that plan takes off. What counts is this file on the default branch.
version: 1
workflow: @WORKFLOW@

# Steps run in the order of their needs.
steps:
  - id: hello
    # "use" names a built-in engine. "command" runs any program over a private
    # copy of the workspace; what it changes is the plan.
    engine:
      use: command
      with:
        run: [sh, -c, "echo 'Hello from CabinCrew' > hello-cabincrew.txt"]
    # What the step may see of the workspace, and so what it may change. Without
    # it: everything that is not ignored.
    # inputs: ["**/*.md"]
    # secrets: {API_TOKEN: "env:ENGINE_API_TOKEN"}   # given in take-off only

policies:
  aggregation: most_restrictive
  bundled: [baseline]
  rego: [policies/]

# Who approves by a review. A role is held by permission, by users (best as
# id:NUMBER), by teams (which need a token that may read them) or by code owners.
approvals:
  expire: 72h
  default_role: maintainer
  roles:
    maintainer: {permission: maintain}
    # Asked for changes of this file, of policies and of what else judges.
    policy-owner: {permission: admin}

# Plans are signed by the workflow that made them, without a key. What counts is that
# workflow at one version, in this repository.
signing:
  keyless: true
  public: @PUBLIC@
  # The authorities that count; cosign trusted-root create writes it. Commit it.
  trusted_root: trusted_root.json
  trusted:
    identities:
      - issuer: https://token.actions.githubusercontent.com
        @FLIGHT-PLAN@
        repository_id: @REPOSITORY@
        owner_id: @OWNER@
        runner_environment: github-hosted
        events: [pull_request, merge_group, workflow_run, workflow_dispatch]
        signs: [plan]
      - issuer: https://token.actions.githubusercontent.com
        @TAKE-OFF@
        repository_id: @REPOSITORY@
        owner_id: @OWNER@
        runner_environment: github-hosted
        events: [push, workflow_dispatch]
        signs: [take-off]
`
