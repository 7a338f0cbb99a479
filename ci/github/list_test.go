package github

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

func reviews(n int) []any {
	out := make([]any, n)
	for i := range n {
		out[i] = map[string]any{
			"id": 1000 + i, "user": person(1+i%7, "u"), "state": "APPROVED", "commit_id": commitA,
			"submitted_at": "2026-05-04T03:02:01Z", "body": strconv.Itoa(i), "html_url": "https://github.com/x",
		}
	}
	return out
}

func TestAllPages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, asked int }{{0, 1}, {1, 1}, {99, 1}, {100, 2}, {101, 2}, {250, 3}, {300, 4}} {
		t.Run(strconv.Itoa(c.n), func(t *testing.T) {
			t.Parallel()
			client, s, _ := serve(t, paged(reviews(c.n), ""))
			acts, err := client.Reviews(t.Context(), 3)
			must(t, err)
			if len(acts) != c.n || len(s.requests()) != c.asked {
				t.Errorf("%d acts by %d requests", len(acts), len(s.requests()))
			}
			for i, a := range acts {
				if a.Text != strconv.Itoa(i) {
					t.Fatalf("act %d is %+v", i, a)
				}
			}
		})
	}
}

// link makes the header of a page; 0 leaves a part out.
func link(r *http.Request, next, last int) string {
	out := ""
	for rel, page := range map[string]int{"next": next, "last": last} {
		if page > 0 {
			if out != "" {
				out += ", "
			}
			out += fmt.Sprintf(`<http://%s%s?page=%d&per_page=100>; rel=%q`, r.Host, r.URL.Path, page, rel)
		}
	}
	return out
}

// TestT28Omissions has GitHub leave out a part of a list in each way that can be seen.
func TestT28Omissions(t *testing.T) {
	t.Parallel()
	all := reviews(250)
	for _, c := range []struct {
		name string
		page func(w http.ResponseWriter, r *http.Request, page int) []any
		ok   bool
	}{
		{"page 2 fails", func(w http.ResponseWriter, r *http.Request, page int) []any {
			if page == 2 {
				return nil
			}
			w.Header().Set("Link", link(r, page+1, 3))
			return all[:100]
		}, false},
		{"page 2 is empty, with a next one", func(w http.ResponseWriter, r *http.Request, page int) []any {
			w.Header().Set("Link", link(r, page+1, 3))
			if page == 2 {
				return []any{}
			}
			return all[:100]
		}, false},
		{"the last page is left out", func(w http.ResponseWriter, r *http.Request, page int) []any {
			if page == 1 {
				w.Header().Set("Link", link(r, 2, 3))
				return all[:100]
			}
			return all[100:150]
		}, false},
		{"a page is skipped", func(w http.ResponseWriter, r *http.Request, page int) []any {
			if page == 1 {
				w.Header().Set("Link", link(r, 3, 3))
				return all[:100]
			}
			return all[200:]
		}, false},
		{"the same page again", func(w http.ResponseWriter, r *http.Request, page int) []any {
			if page < 3 {
				w.Header().Set("Link", link(r, page+1, 3))
				return all[:100]
			}
			return all[200:]
		}, false},
		{"without links, all there", func(_ http.ResponseWriter, _ *http.Request, page int) []any {
			return all[min(page-1, 2)*100 : min(page*100, 250)]
		}, true},
		{"without end", func(w http.ResponseWriter, r *http.Request, page int) []any {
			w.Header().Set("Link", link(r, page+1, 0))
			out := reviews(100)
			for i := range out {
				out[i].(map[string]any)["id"] = page*1000 + i
			}
			return out
		}, false},
		{"no list", func(w http.ResponseWriter, _ *http.Request, _ int) []any {
			_, _ = w.Write([]byte(`{"message":"fine"}`))
			return nil
		}, false},
		{"cut JSON", func(w http.ResponseWriter, _ *http.Request, _ int) []any {
			_, _ = w.Write([]byte(`[{"id":1`))
			return nil
		}, false},
		{"no ids", func(http.ResponseWriter, *http.Request, int) []any { return []any{map[string]any{"state": "APPROVED"}} }, false},
		{"an id that is none", func(http.ResponseWriter, *http.Request, int) []any {
			return []any{map[string]any{"id": 1.5, "state": "APPROVED"}}
		}, false},
		{"a state that nobody knows", func(http.ResponseWriter, *http.Request, int) []any {
			return []any{map[string]any{"id": 1, "state": "BLESSED"}}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				page, _ := strconv.Atoi(r.URL.Query().Get("page"))
				items := c.page(w, r, max(page, 1))
				if items == nil {
					if w.Header().Get("Content-Length") == "" && c.name == "page 2 fails" {
						w.WriteHeader(http.StatusBadGateway)
					}
					return
				}
				reply(w, 200, items)
			})
			acts, err := client.Reviews(t.Context(), 3)
			if c.ok {
				if must(t, err); len(acts) != 250 {
					t.Errorf("%d acts", len(acts))
				}
				return
			}
			code := "forge_incomplete"
			if c.name == "page 2 fails" {
				code = "forge_unreachable"
			}
			if wants(t, err, code, 7); acts != nil {
				t.Errorf("%d acts beside the error", len(acts))
			}
		})
	}
}

// TestT28Counts has lists that say how many entries they have.
func TestT28Counts(t *testing.T) {
	t.Parallel()
	artifacts := func(n int) []any {
		out := make([]any, n)
		for i := range n {
			out[i] = map[string]any{"id": 10 + i, "name": "a", "workflow_run": map[string]any{"id": 5, "head_sha": commitA, "head_repository_id": 9}}
		}
		return out
	}
	client, _, _ := serve(t, paged(artifacts(230), "artifacts"))
	have, err := client.Artifacts(t.Context(), "5")
	if must(t, err); len(have) != 230 || have[0].HeadRepositoryID != "9" {
		t.Errorf("%d artifacts", len(have))
	}
	for name, answer := range map[string]map[string]any{
		"more are counted":        {"total_count": 3, "artifacts": artifacts(2)},
		"no count":                {"artifacts": artifacts(2)},
		"no list":                 {"total_count": 0},
		"of another run":          {"total_count": 1, "artifacts": []any{map[string]any{"id": 1, "workflow_run": map[string]any{"id": 6}}}},
		"of no run":               {"total_count": 1, "artifacts": []any{map[string]any{"id": 1}}},
		"the same one and a half": {"total_count": 2, "artifacts": append(artifacts(1), artifacts(1)...)},
	} {
		client, _, _ := serve(t, one(200, answer))
		if have, err := client.Artifacts(t.Context(), "5"); err == nil && name != "no list" {
			t.Errorf("%s: %+v", name, have)
		} else if err != nil {
			wants(t, err, "forge_incomplete", 7)
		}
	}
}

// TestAListThatShifts is read once more.
func TestAListThatShifts(t *testing.T) {
	t.Parallel()
	n := 0
	client, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		all := reviews(150)
		if n == 1 { // one more came before the second page was asked for
			w.Header().Set("Link", link(r, 2, 2))
			reply(w, 200, all[:100])
			return
		}
		if n == 2 {
			reply(w, 200, all[99:])
			return
		}
		paged(all, "")(w, r)
	})
	acts, err := client.Reviews(t.Context(), 3)
	if must(t, err); len(acts) != 150 {
		t.Errorf("%d acts", len(acts))
	}
}
