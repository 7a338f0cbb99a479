package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

func checkOf(id int, k map[string]any) map[string]any {
	out := map[string]any{"id": id, "app": map[string]any{"id": 15368, "slug": "github-actions"}, "html_url": "https://github.com/c"}
	for name, v := range k {
		if name != "actions" {
			out[name] = v
		}
	}
	return out
}

// echo answers as a server that keeps check runs would.
func echo(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	reply(w, 200, checkOf(3, body))
}

func TestCheckWithManyAnnotations(t *testing.T) {
	t.Parallel()
	c, s, _ := serve(t, echo)
	k := Check{
		Name: "cabincrew / flight-plan", HeadSHA: commitA, ExternalID: "sha256:x", Status: "completed", Conclusion: "failure",
		Title: "t", Summary: "s", Text: "x", Actions: []CheckAction{{"Re-plan", "Plan again", "replan"}},
	}
	for i := range 120 {
		k.Annotations = append(k.Annotations, Annotation{Path: "a.tf", StartLine: i + 1, EndLine: i + 1, Level: "warning", Message: fmt.Sprint(i)})
	}
	made, err := c.StartCheck(t.Context(), k)
	must(t, err)
	if made.ID != "3" || made.AppID != "15368" || made.Conclusion != "failure" || made.ExternalID != "sha256:x" {
		t.Errorf("%+v", made)
	}
	got := s.requests()
	total := 0
	for i, r := range got {
		var body struct {
			Status     string
			Conclusion string
			Output     struct{ Annotations []any }
		}
		must(t, json.Unmarshal([]byte(r.body), &body))
		total += len(body.Output.Annotations)
		if len(body.Output.Annotations) > limits.GitHubAnnotations || (body.Conclusion != "") != (i == 2) || (body.Status == "completed") != (i == 2) {
			t.Errorf("request %d: %+v", i, body)
		}
	}
	if len(got) != 3 || total != 120 || got[0].method != "POST" || got[2].method != "PATCH" || got[2].path != "/repos/acme/shop/check-runs/3" {
		t.Errorf("%d requests with %d annotations", len(got), total)
	}
}

func TestChecksAreNeverCut(t *testing.T) {
	t.Parallel()
	c, s, _ := serve(t, echo)
	ok := Check{Name: "n", HeadSHA: commitA, Status: "completed", Conclusion: "success"}
	for name, change := range map[string]func(*Check){
		"summary": func(k *Check) { k.Summary = strings.Repeat("é", limits.GitHubCheckText/2+1) },
		"text":    func(k *Check) { k.Text = strings.Repeat("x", limits.GitHubCheckText+1) },
		"title":   func(k *Check) { k.Title = strings.Repeat("x", limits.GitHubCheckTitle+1) },
		"name":    func(k *Check) { k.Name = strings.Repeat("x", limits.GitHubName+1) },
		"actions": func(k *Check) { k.Actions = make([]CheckAction, 4) },
		"label":   func(k *Check) { k.Actions = []CheckAction{{Label: strings.Repeat("x", 21)}} },
		"annotation": func(k *Check) {
			k.Annotations = []Annotation{{"a", 1, 1, "notice", "", strings.Repeat("x", limits.GitHubAnnotationText+1)}}
		},
		"its title": func(k *Check) { k.Annotations = []Annotation{{"a", 1, 1, "notice", strings.Repeat("x", 256), "m"}} },
		"too many":  func(k *Check) { k.Annotations = make([]Annotation, limits.GitHubAnnotationsAll+1) },
	} {
		k := ok
		change(&k)
		_, err := c.StartCheck(t.Context(), k)
		wants(t, err, "forge_too_long", 1)
		k.ID = "3"
		_, err = c.UpdateCheck(t.Context(), k)
		if wants(t, err, "forge_too_long", 1); len(s.requests()) != 0 {
			t.Errorf("%s: it was sent", name)
		}
	}
	k := ok
	k.Annotations = []Annotation{{"a", 2, 1, "notice", "", "m"}}
	_, err := c.StartCheck(t.Context(), k)
	wants(t, err, "forge_options", 1)
	_, err = c.UpdateCheck(t.Context(), ok)
	wants(t, err, "forge_options", 1)
	k = ok
	k.Summary, k.Text, k.Title = strings.Repeat("x", limits.GitHubCheckText), strings.Repeat("x", limits.GitHubCheckText), strings.Repeat("x", limits.GitHubCheckTitle)
	_, err = c.StartCheck(t.Context(), k)
	must(t, err)
}

func TestChecks(t *testing.T) {
	t.Parallel()
	of := func(id int, sha, name string) any { return checkOf(id, map[string]any{"head_sha": sha, "name": name}) }
	c, s, _ := serve(t, paged([]any{of(1, commitA, "n"), of(2, commitA, "n")}, "check_runs"))
	got, err := c.Checks(t.Context(), commitA, "n")
	if must(t, err); len(got) != 2 || !strings.Contains(s.requests()[0].query, "filter=all") {
		t.Errorf("%+v", got)
	}
	for _, k := range []any{of(1, commitB, "n"), of(1, commitA, "m")} {
		c, _, _ := serve(t, paged([]any{k}, "check_runs"))
		_, err := c.Checks(t.Context(), commitA, "n")
		wants(t, err, "forge_incomplete", 7)
	}
	_, err = c.Checks(t.Context(), "main", "n")
	wants(t, err, "forge_incomplete", 7)
}

// TestALostCheck finds the check whose answer was lost.
func TestALostCheck(t *testing.T) {
	t.Parallel()
	k := Check{Name: "n", HeadSHA: commitA, ExternalID: "x", Status: "in_progress", Summary: "s", Title: "t"}
	there := true
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		items := []any{checkOf(8, map[string]any{"head_sha": commitA, "name": "n", "external_id": "y"})}
		if there {
			items = append(items, checkOf(9, map[string]any{"head_sha": commitA, "name": "n", "external_id": "x", "status": "in_progress", "output": map[string]string{"summary": "s"}}))
		}
		paged(items, "check_runs")(w, r)
	}
	c, _, _ := serve(t, handler)
	made, err := c.StartCheck(t.Context(), k)
	if must(t, err); made.ID != "9" {
		t.Errorf("%+v", made)
	}
	there = false
	_, err = c.StartCheck(t.Context(), k)
	wants(t, err, "forge_unreachable", 7)
}

func TestComment(t *testing.T) {
	t.Parallel()
	bot := map[string]any{"id": 41898282, "login": "github-actions[bot]", "type": "Bot"}
	mark := hidden("cabincrew:plan")
	for _, c := range []struct {
		name   string
		have   []any
		want   string // the last request
		asked  int
		tokens string
	}{
		{"the first", nil, "POST /repos/acme/shop/issues/7/comments", 2, "ghs_x"},
		{"ours", []any{map[string]any{"id": 1, "user": person(9, "eve"), "body": "hello"}, map[string]any{"id": 2, "user": bot, "body": mark + "\nold"}},
			"PATCH /repos/acme/shop/issues/comments/2", 2, "ghs_x"},
		{"somebody else's with our marker", []any{map[string]any{"id": 1, "user": person(9, "eve"), "body": mark}}, "POST /repos/acme/shop/issues/7/comments", 2, "ghs_x"},
		{"a person who calls themselves so", []any{map[string]any{"id": 1, "user": person(9, "github-actions[bot]"), "body": mark}}, "POST /repos/acme/shop/issues/7/comments", 2, "ghs_x"},
		{"our marker in the middle", []any{map[string]any{"id": 1, "user": bot, "body": "quote: " + mark}}, "POST /repos/acme/shop/issues/7/comments", 2, "ghs_x"},
		{"unchanged", []any{map[string]any{"id": 2, "user": bot, "body": mark + "\nnew"}}, "GET /repos/acme/shop/issues/7/comments", 1, "ghs_x"},
		{"a token that asks who it is", []any{map[string]any{"id": 2, "user": bot, "body": mark}}, "PATCH /repos/acme/shop/issues/comments/2", 3, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/user":
					reply(w, 403, map[string]string{"message": "Resource not accessible by integration"})
				case r.Method == http.MethodGet:
					paged(c.have, "")(w, r)
				default:
					reply(w, 200, map[string]any{"id": 5, "html_url": "https://github.com/c5"})
				}
			})
			client.gov.token = c.tokens
			_, err := client.Comment(t.Context(), 7, "cabincrew:plan", "new")
			must(t, err)
			got := s.requests()
			last := got[len(got)-1]
			if last.method+" "+last.path != c.want || len(got) != c.asked {
				t.Errorf("asked %s %s, %d requests", last.method, last.path, len(got))
			}
		})
	}
	client, s, _ := serve(t, one(200, []any{}))
	for _, m := range []string{"", "a b", "x-->", "a--b", "a\nb"} {
		_, err := client.Comment(t.Context(), 7, m, "x")
		wants(t, err, "forge_options", 1)
	}
	_, err := client.Comment(t.Context(), 7, "m", strings.Repeat("é", limits.GitHubComment/2))
	if wants(t, err, "forge_too_long", 1); len(s.requests()) != 0 {
		t.Error("it was sent")
	}
}

func TestOpenIssue(t *testing.T) {
	t.Parallel()
	bot := map[string]any{"id": 41898282, "login": "acme-crew[bot]", "type": "Bot"}
	have := []any{
		map[string]any{"id": 1, "number": 11, "user": bot, "body": hidden("drift"), "pull_request": map[string]any{}},
		map[string]any{"id": 2, "number": 12, "user": bot, "body": hidden("drift") + "\nold"},
	}
	client, s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			paged(have, "")(w, r)
			return
		}
		reply(w, 200, map[string]any{"id": 2, "html_url": "https://github.com/i"})
	})
	client.app = "acme-crew"
	url, err := client.OpenIssue(t.Context(), "drift", "Drift", "body", []string{"cabincrew"})
	must(t, err)
	got := s.requests()
	if last := got[len(got)-1]; url == "" || last.method != "PATCH" || last.path != "/repos/acme/shop/issues/12" {
		t.Errorf("%+v", got)
	}
	have = nil
	_, err = client.OpenIssue(t.Context(), "drift", "Drift", "body", []string{"cabincrew"})
	must(t, err)
	got = s.requests()
	if last := got[len(got)-1]; last.method != http.MethodPost || !strings.Contains(last.body, `"labels":["cabincrew"]`) {
		t.Errorf("%+v", last)
	}
}
