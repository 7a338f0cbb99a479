package github

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
)

// examples gives GitHub's own payloads by event.
func examples(t testing.TB) map[string][]json.RawMessage {
	t.Helper()
	data, err := os.ReadFile("../../bin/lib/webhook-examples.json")
	if err != nil {
		t.Skipf("GitHub's examples of payloads are not there (make webhooks gets them): %v", err)
	}
	var list []struct {
		Name     string            `json:"name"`
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string][]json.RawMessage{}
	for _, e := range list {
		out[e.Name] = e.Examples
	}
	return out
}

// TestExamplesOfGitHub parses all 329 payloads.
func TestExamplesOfGitHub(t *testing.T) {
	t.Parallel()
	n := 0
	for name, payloads := range examples(t) {
		for i, p := range payloads {
			n++
			e, err := ParseEvent(name, p)
			if err != nil {
				t.Errorf("%s %d: %v", name, i, err)
				continue
			}
			var raw struct {
				Action     string
				Repository struct {
					ID   int64
					Full string `json:"full_name"`
				}
				Pull *struct{ Number int } `json:"pull_request"`
			}
			_ = json.Unmarshal(p, &raw)
			if e.Name != name || e.Action != raw.Action || e.Repository != raw.Repository.Full {
				t.Errorf("%s %d: %+v", name, i, e)
			}
			if name == "check_run" && (e.CheckID == "" || e.HeadSHA == "" || (e.RequestedAction != "") != (e.Action == "requested_action")) {
				t.Errorf("%s %d: %+v", name, i, e)
			}
			if strings.HasPrefix(name, "pull_request") && raw.Pull != nil && name != "pull_request_review_thread" && e.Number != raw.Pull.Number {
				t.Errorf("%s %d: number %d", name, i, e.Number)
			}
		}
	}
	if n != 329 {
		t.Errorf("%d payloads", n)
	}
}

const pullPayload = `{"action":"edited","number":7,"before":"` + commitB + `","after":"` + commitA + `",
 "changes":{"base":{"ref":{"from":"old"}}},
 "pull_request":{"number":7,"state":"open","draft":true,"merged_at":null,"merge_commit_sha":"` + commitC + `",
  "head":{"ref":"topic","sha":"` + commitA + `","repo":{"id":99,"full_name":"mallory/shop"}},
  "base":{"ref":"main","sha":"` + commitB + `","repo":{"id":42,"full_name":"acme/shop"}}},
 "repository":{"id":42,"full_name":"acme/shop","default_branch":"main"},
 "sender":{"id":5,"login":"mallory","type":"User"}}`

func TestParseEvent(t *testing.T) {
	t.Parallel()
	got, err := ParseEvent("pull_request", []byte(pullPayload))
	must(t, err)
	want := Event{
		Name: "pull_request", Action: "edited", Number: 7, Draft: true, HeadSHA: commitA, HeadRepositoryID: "99", HeadRef: "topic",
		BaseRef: "main", BaseSHA: commitB, RepositoryID: "42", Repository: "acme/shop", DefaultBranch: "main",
		Sender: ci.Person{ID: "5", Login: "mallory"}, MergeCommit: commitC, Before: commitB, After: commitA, BaseEdited: true,
	}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for name, change := range map[string][2]string{
		"no number":                 {`"pull_request":{"number":7`, `"pull_request":{"number":0`},
		"two numbers":               {`"action":"edited","number":7`, `"action":"edited","number":8`},
		"a short commit":            {`"topic","sha":"` + commitA, `"topic","sha":"abc`},
		"no base repository":        {`"repo":{"id":42,"full_name":"acme/shop"}`, `"repo":null`},
		"the base is another":       {`"repo":{"id":42,"full_name":"acme/shop"}`, `"repo":{"id":43,"full_name":"acme/shop"}`},
		"an id with a point":        {`"repository":{"id":42`, `"repository":{"id":42.0`},
		"an id in text":             {`"repository":{"id":42`, `"repository":{"id":"42"`},
		"an id below nothing":       {`"repository":{"id":42`, `"repository":{"id":-42`},
		"an id that is too long":    {`"repository":{"id":42`, `"repository":{"id":4200000000000000000000`},
		"an id with an exponent":    {`"repository":{"id":42`, `"repository":{"id":42e0`},
		"an id with a nought":       {`"repository":{"id":42`, `"repository":{"id":0`},
		"no repository":             {`"repository":{"id":42,"full_name":"acme/shop","default_branch":"main"}`, `"repository":null`},
		"a state that nobody knows": {`"state":"open"`, `"state":"ajar"`},
		"cut":                       {`"sender"`, ``},
	} {
		if e, err := ParseEvent("pull_request", []byte(strings.Replace(pullPayload, change[0], change[1], 1))); err == nil {
			t.Errorf("%s: %+v", name, e)
		} else {
			wants(t, err, "event_payload", 2)
		}
	}
}

func TestEventsOfOurs(t *testing.T) {
	t.Parallel()
	const repo = `"repository":{"id":42,"full_name":"acme/shop","default_branch":"main"}`
	const bob = `"sender":{"id":6,"login":"bob","type":"User"},`
	for _, c := range []struct {
		event, payload string
		want           Event
	}{
		{"push", `{"ref":"refs/heads/main","before":"` + commitA + `","after":"` + commitB + `",` + repo + `}`,
			Event{Before: commitA, After: commitB, Ref: "refs/heads/main", HeadSHA: commitB}},
		{"push", `{"ref":"main","before":"` + commitA + `","after":"` + commitB + `",` + repo + `}`, Event{}},
		{"push", `{"ref":"refs/heads/main","before":"","after":"` + commitB + `",` + repo + `}`, Event{}},
		{"push", `{"ref":"refs/heads/main","before":"` + commitA + `","after":"` + commitB + `"}`, Event{}},
		{"merge_group", `{"action":"checks_requested","merge_group":{"head_sha":"` + commitA + `","head_ref":"refs/heads/gh-readonly-queue/main/pr-7-x","base_sha":"` + commitB + `","base_ref":"refs/heads/main"},` + repo + `}`,
			Event{Action: "checks_requested", HeadSHA: commitA, BaseSHA: commitB, BaseRef: "refs/heads/main", MergeGroup: MergeGroup{commitA, "refs/heads/gh-readonly-queue/main/pr-7-x", commitB, "refs/heads/main"}}},
		{"merge_group", `{"merge_group":null,` + repo + `}`, Event{}},
		{"workflow_run", `{"action":"completed","workflow_run":{"id":5,"event":"pull_request","conclusion":"success","path":".github/workflows/p.yml","head_sha":"` + commitA + `","head_repository":{"id":99,"full_name":"m/s"},"pull_requests":[{"number":7}]},` + repo + `}`,
			Event{Action: "completed", Number: 7, RunID: "5", RunEvent: "pull_request", RunConclusion: "success", RunWorkflowPath: ".github/workflows/p.yml", RunHeadSHA: commitA, RunHeadRepositoryID: "99"}},
		{"workflow_run", `{"workflow_run":{"id":5,"event":"push","head_sha":"` + commitA + `","head_repository":null},` + repo + `}`, Event{}},
		{"check_run", `{"action":"requested_action","requested_action":{"identifier":"replan"},"check_run":{"id":3,"head_sha":"` + commitA + `","external_id":"sha256:x"},` + bob + repo + `}`,
			Event{Action: "requested_action", CheckID: "3", HeadSHA: commitA, CheckExternalID: "sha256:x", RequestedAction: "replan", Sender: ci.Person{ID: "6", Login: "bob"}}},
		{"check_run", `{"action":"requested_action","requested_action":{"identifier":"replan"},"check_run":{"id":3,"head_sha":"` + commitA + `"},` + repo + `}`, Event{}},
		{"check_run", `{"action":"requested_action","requested_action":{"identifier":"` + strings.Repeat("x", 21) + `"},"check_run":{"id":3,"head_sha":"` + commitA + `"},` + bob + repo + `}`, Event{}},
		{"check_run", `{"action":"requested_action","requested_action":"replan","check_run":{"id":3,"head_sha":"` + commitA + `"},` + bob + repo + `}`, Event{}},
		{"check_run", `{"action":"completed","check_run":{"id":3,"head_sha":"` + commitA + `"},` + repo + `}`, Event{Action: "completed", CheckID: "3", HeadSHA: commitA}},
		{"check_run", `{"action":"requested_action","check_run":{"id":3,"head_sha":"` + commitA + `"},` + repo + `}`, Event{}},
		{"check_run", `{"action":"created","check_run":{"head_sha":"` + commitA + `"},` + repo + `}`, Event{}},
		{"workflow_dispatch", `{"ref":"refs/heads/main","inputs":{"a":"b"},` + repo + `}`, Event{Ref: "refs/heads/main"}},
		{"schedule", `{"schedule":"0 0 * * *",` + repo + `}`, Event{}},
		{"issue_comment", `{"action":"created","issue":{"number":4},` + repo + `}`, Event{Action: "created", Number: 4}},
	} {
		got, err := ParseEvent(c.event, []byte(c.payload))
		if c.want == (Event{}) && c.event != "schedule" {
			if err == nil {
				t.Errorf("%s %s: %+v", c.event, c.payload, got)
				continue
			}
			wants(t, err, "event_payload", 2)
			continue
		}
		c.want.Name, c.want.RepositoryID, c.want.Repository, c.want.DefaultBranch, c.want.Sender.Bot = c.event, "42", "acme/shop", "main", c.want.Sender.ID == ""
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%+v\n%+v", c.event, err, got, c.want)
		}
	}
	review := strings.Replace(pullPayload, `"action":"edited"`, `"review":{"id":88},"action":"submitted"`, 1)
	if got, err := ParseEvent("pull_request_review", []byte(review)); err != nil || got.ReviewID != "88" || got.Number != 7 || got.BaseEdited {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := ParseEvent("pull_request_review", []byte(pullPayload)); err == nil {
		t.Error("a review without a review")
	}
	for _, name := range []string{"", "Pull Request", "../x", strings.Repeat("x", 65)} {
		_, err := ParseEvent(name, []byte(pullPayload))
		wants(t, err, "event_payload", 2)
	}
	for _, data := range []string{"", "null", "[]", `"x"`, "{} {}", strings.Repeat("[", 20000)} {
		_, err := ParseEvent("push", []byte(data))
		wants(t, err, "event_payload", 2)
	}
	_, err := ParseEvent("push", make([]byte, limits.GitHubEvent+1))
	wants(t, err, "event_payload", 2)
}

func FuzzParseEvent(f *testing.F) {
	f.Add("pull_request", []byte(pullPayload))
	f.Add("push", []byte(`{"ref":"refs/heads/x","before":"`+commitA+`","after":"`+commitB+`","repository":{"id":1,"full_name":"a/b"}}`))
	f.Add("check_run", []byte(`{"action":"requested_action","check_run":{"id":1,"head_sha":null}}`))
	f.Add("check_run", []byte(`{"action":"requested_action","requested_action":{"identifier":"replan"},"check_run":{"id":1,"head_sha":"`+commitA+`"},"sender":{"id":6,"login":"bob"},"repository":{"id":1,"full_name":"a/b"}}`))
	f.Add("workflow_run", []byte(`{"workflow_run":{"created_at":1,"pull_requests":[{}]}}`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		e, err := ParseEvent(name, data)
		if err != nil {
			return
		}
		if strings.HasPrefix(name, "pull_request") && name != "pull_request_review_thread" && (e.Number <= 0 || !commitID.MatchString(e.HeadSHA) || !isID(e.RepositoryID)) {
			t.Errorf("%+v", e)
		}
		if e.RepositoryID != "" && !isID(e.RepositoryID) || e.Sender.ID != "" && !isID(e.Sender.ID) {
			t.Errorf("%+v", e)
		}
	})
}
