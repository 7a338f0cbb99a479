package githubtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/test/githubtest"
)

func TestIdentityOfARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	issuer, err := githubtest.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issuer.Close)
	run := w.repo.Start(githubtest.Started{Workflow: planFile, Event: "push", Branch: "main", SHA: w.root, Actor: w.alice, Calls: []string{"cabincrew/action/.github/workflows/flight-plan.yml@refs/tags/v1"}})
	environment := issuer.Job(run.Claims("refs/heads/main"))
	at, _ := strings.CutPrefix(environment[0], "ACTIONS_ID_TOKEN_REQUEST_URL=")
	bearer, _ := strings.CutPrefix(environment[1], "ACTIONS_ID_TOKEN_REQUEST_TOKEN=")
	if _, status := fetch(t, at, "Bearer other"); status != http.StatusUnauthorized {
		t.Errorf("a stranger is answered with %d", status)
	}
	data, _ := fetch(t, at+"&audience=sigstore", "Bearer "+bearer)
	var answer struct{ Value string }
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(answer.Value, ".")
	if len(parts) != 3 {
		t.Fatalf("the token is %q", answer.Value)
	}
	data, err = base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(data, &claims); err != nil {
		t.Fatal(err)
	}
	if claims["aud"] != "sigstore" || claims["repository_id"] != id(w.repo.ID) || claims["job_workflow_ref"] != "cabincrew/action/.github/workflows/flight-plan.yml@refs/tags/v1" || claims["run_id"] != id(run.ID) {
		t.Errorf("the claims are %v", claims)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request", Branch: "feature/x", SHA: w.change, Actor: w.alice})
	for kind, data := range map[string][]byte{
		"pull_request":        w.pull.Payload("opened", w.alice),
		"pull_request_review": w.pull.ReviewPayload("submitted", w.pull.Review(w.bob, githubtest.Approved, "")),
		"push":                w.repo.PushPayload("main", strings.Repeat("0", 40), w.root, w.alice),
		"workflow_run":        run.Payload("completed"),
	} {
		event, err := github.ParseWebHook(kind, data)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if p, is := event.(*github.PullRequestEvent); is && (p.GetPullRequest().GetHead().GetSHA() != w.change || p.GetRepo().GetID() != w.repo.ID) {
			t.Errorf("the event is %v", p)
		}
	}
}
