//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/online"
)

// TestIdentities holds certificates that the real Fulcio issued for other jobs against
// our identity policy: each is refused, by the name of the fact that differs.
func TestIdentities(t *testing.T) {
	t.Parallel()
	plan := of(newWS(t, "signing: {key: keys/plan}\n").json(4, "flight-plan").FlightDir)
	for name, c := range strangers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stranger := c.of
			stranger.claims = stranger.claims.With(c.claims)
			err := stranger.signs(t, plan).verified(t, c.of.trust(t), signing.FlightPlanType)
			if c.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || protocol.ExitCode(err) != protocol.ExitIntegrity || !errors.Is(err, protocol.Code(signing.CodeIdentityMismatch)) ||
				!strings.Contains(err.Error(), "certificate's "+c.field+" is ") {
				t.Errorf("the refusal does not name %q: %v", c.field, err)
			}
		})
	}
}

type stranger struct {
	of     signer
	claims claims // that differ
	field  string // that the refusal names; none if it is accepted
}

func strangers() map[string]stranger {
	pull := claims{"ref": "refs/pull/7/merge", "sub": "repo:acme/infra:pull_request", "event_name": "pull_request", "workflow_ref": "acme/infra/.github/workflows/ci.yml@refs/pull/7/merge"}
	all := map[string]stranger{}
	add := func(forge string, of signer, cases map[string]stranger) {
		for name, c := range cases {
			all[forge+", "+name] = stranger{of, c.claims, c.field}
		}
	}
	const san = "subject alternative name"
	add("github", githubJob(), map[string]stranger{
		"the planner itself":                         {claims: claims{}},
		"the planner in another run":                 {claims: claims{"run_id": "9000", "run_attempt": "2", "actor": "bob", "actor_id": "8"}},
		"a workflow of the repository":               {claims: claims{"job_workflow_ref": "acme/infra/.github/workflows/plan.yml@refs/tags/v1"}, field: san},
		"another workflow beside it":                 {claims: claims{"job_workflow_ref": "cabincrew/action/.github/workflows/other.yml@refs/tags/v1"}, field: san},
		"a workflow whose name goes on":              {claims: claims{"job_workflow_ref": planRef + ".2"}, field: san},
		"the workflow on a branch":                   {claims: claims{"job_workflow_ref": workflow + "@refs/heads/v1"}, field: san},
		"the workflow as a pull request has it":      {claims: pull.With(claims{"job_workflow_ref": workflow + "@refs/pull/7/merge"}), field: san},
		"the workflow at another commit":             {claims: claims{"job_workflow_sha": head}, field: "build signer digest"},
		"a pull request that calls the workflow":     {claims: pull, field: "event"},
		"another ref":                                {claims: claims{"ref": "refs/pull/7/merge"}, field: "source repository ref"},
		"a tag named as the branch":                  {claims: claims{"ref": "refs/tags/main", "ref_type": "tag"}, field: "source repository ref"},
		"a self-hosted runner":                       {claims: claims{"runner_environment": "self-hosted"}, field: "runner environment"},
		"a fork":                                     {claims: claims{"repository": "mallory/infra", "repository_id": "5678", "repository_owner": "mallory", "repository_owner_id": "66"}, field: "source repository id"},
		"another repository of that name":            {claims: claims{"repository_id": "5678"}, field: "source repository id"},
		"another owner of that name":                 {claims: claims{"repository_owner_id": "66"}, field: "source repository owner id"},
		"a job that names its own forge":             {claims: claims{"url": "https://github.example"}, field: san},
		"a job that names the forge with its branch": {claims: claims{"url": "https://github.com/" + planRef + "#"}, field: san},
	})
	add("gitlab", gitlabJob(), map[string]stranger{
		"the planner itself":         {claims: claims{}},
		"another pipeline":           {claims: claims{"ci_config_ref_uri": "gitlab.com/acme/infra//other.yml@refs/heads/main"}, field: san},
		"the pipeline of a branch":   {claims: claims{"ci_config_ref_uri": "gitlab.com/acme/infra//.gitlab-ci.yml@refs/heads/feature", "ref": "feature", "ref_path": "refs/heads/feature"}, field: san},
		"another ref":                {claims: claims{"ref": "feature", "ref_path": "refs/heads/feature", "ref_protected": "false"}, field: "source repository ref"},
		"a tag named as the branch":  {claims: claims{"ref_type": "tag", "ref_path": "refs/tags/main"}, field: "source repository ref"},
		"a self-hosted runner":       {claims: claims{"runner_environment": "self-hosted"}, field: "runner environment"},
		"a fork's project":           {claims: claims{"project_id": "21"}, field: "source repository id"},
		"another group of that name": {claims: claims{"namespace_id": "73"}, field: "source repository owner id"},
		"a merge request":            {claims: claims{"pipeline_source": "merge_request_event"}, field: "event"},
	})
	return all
}

// TestStrangersIssuer: the same claims from another issuer, which Fulcio trusts as well.
func TestStrangersIssuer(t *testing.T) {
	t.Parallel()
	plan := of(newWS(t, "signing: {key: keys/plan}\n").json(4, "flight-plan").FlightDir)
	imitated := claims{}
	maps.Copy(imitated, gitlab())
	imitated["ci_config_ref_uri"] = strings.TrimPrefix(planner, "https://") // GitLab is not asked what it is called
	imitated["project_id"], imitated["namespace_id"], imitated["runner_environment"], imitated["ci_config_sha"] = repoID, ownerID, "github-hosted", planSHA
	signed := signer{house.gitlab, imitated, planner}.signs(t, plan)
	err := signed.verified(t, githubJob().trust(t), signing.FlightPlanType)
	if err == nil || !strings.Contains(err.Error(), "certificate's issuer is ") {
		t.Errorf("the refusal does not name the issuer: %v", err)
	}
	// It is the issuer alone that gives it away.
	p := githubJob().policy()
	p.Issuer = house.gitlab.URL()
	identity, err := signing.NewIdentity(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := signed.verified(t, signing.Trust{Identities: []signing.Identity{identity}, Root: root(t)}, signing.FlightPlanType); err != nil {
		t.Error(err)
	}
}

// TestTokensFulcioRefuses: a token that the real Fulcio refuses gives no bundle, and is
// in no error.
func TestTokensFulcioRefuses(t *testing.T) {
	t.Parallel()
	plan := of(newWS(t, "signing: {key: keys/plan}\n").json(4, "flight-plan").FlightDir)
	statement, err := os.ReadFile(plan.statement(t))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := house.github.Token(github(), "another-audience")
	if err != nil {
		t.Fatal(err)
	}
	good := house.github.token(t, github())
	unsigned := good[:strings.LastIndex(good, ".")+1] + "AAAA"
	missing := github()
	delete(missing, "repository_id")
	for name, raw := range map[string]string{"another audience": elsewhere, "an unsigned one": unsigned, "a missing claim": house.github.token(t, missing)} {
		token, err := online.NewToken(raw)
		if err != nil {
			t.Fatal(err)
		}
		k, err := online.NewKeyless(online.Given(token), online.Services{Fulcio: house.fulcio, Timestamp: house.tsa + "/api/v1/timestamp"})
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := k.Sign(t.Context(), statement)
		if err == nil || bundle != nil {
			t.Errorf("%s: signed", name)
			continue
		}
		if said := fmt.Sprintf("%v %+v", err, err); strings.Contains(said, raw[:40]) || strings.Contains(said, raw[len(raw)-40:]) {
			t.Errorf("%s: the error holds the token: %s", name, said)
		}
	}
}
