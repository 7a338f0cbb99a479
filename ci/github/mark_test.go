package github

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

// tags is a store of tags with the one promise that marks live on.
type tags struct {
	mu      sync.Mutex
	refs    map[string]string
	objects map[string]map[string]any
	lost    int // answers to the creation of refs that get lost after it
	never   int // such requests that get lost before it
}

func newTags() *tags {
	return &tags{refs: map[string]string{}, objects: map[string]map[string]any{}}
}

func (g *tags) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	path := strings.TrimPrefix(r.URL.Path, "/repos/acme/shop/git/")
	switch {
	case r.Method == http.MethodPost && path == "tags":
		sha := strings.Repeat(string("0123456789abcdef"[len(g.objects)]), 40)
		body["sha"] = sha
		g.objects[sha] = body
		reply(w, 201, body)
	case r.Method == http.MethodPost && path == "refs":
		if g.never > 0 {
			g.never--
			panic(http.ErrAbortHandler)
		}
		name, sha := body["ref"].(string), body["sha"].(string)
		if _, ok := g.refs[name]; ok {
			reply(w, 422, map[string]string{"message": "Reference already exists"})
			return
		}
		g.refs[name] = sha
		if g.lost > 0 {
			g.lost--
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		reply(w, 201, map[string]any{"ref": name, "object": map[string]string{"sha": sha, "type": "tag"}})
	case strings.HasPrefix(path, "ref/"):
		name := "refs/" + strings.TrimPrefix(path, "ref/")
		sha, ok := g.refs[name]
		if !ok {
			reply(w, 404, map[string]string{"message": "Not Found"})
			return
		}
		kind := "commit"
		if g.objects[sha] != nil {
			kind = "tag"
		}
		reply(w, 200, map[string]any{"ref": name, "object": map[string]string{"sha": sha, "type": kind}})
	case strings.HasPrefix(path, "tags/"):
		reply(w, 200, g.objects[strings.TrimPrefix(path, "tags/")])
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

const begun = "cabincrew/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/begun"

// TestT04OnlyOneMakesAMark has several clients make the same mark at once, some of
// whose answers are lost.
func TestT04OnlyOneMakesAMark(t *testing.T) {
	t.Parallel()
	for _, lost := range []int{0, 1} {
		g := newTags()
		g.lost = lost
		_, s, _ := serve(t, g.ServeHTTP)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 5 {
			c, _ := newClient(t, s.URL)
			wg.Go(func() {
				made, err := c.Mark(t.Context(), begun, commitA, "run 1")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if made {
					won++
				}
			})
		}
		if wg.Wait(); won != 1 {
			t.Errorf("%d lost answers: %d made it", lost, won)
		}
	}
}

func TestT04MarksAndLostAnswers(t *testing.T) {
	t.Parallel()
	g := newTags()
	c, s, _ := serve(t, g.ServeHTTP)
	_, made, err := c.Marked(t.Context(), begun)
	if must(t, err); made {
		t.Error("it is there")
	}
	g.never = 2
	made, err = c.Mark(t.Context(), begun, commitA, "run 5, attempt 1\n")
	if must(t, err); !made {
		t.Error("it was not made after requests were lost")
	}
	message, made, err := c.Marked(t.Context(), begun)
	if must(t, err); !made || message != "run 5, attempt 1\n" {
		t.Errorf("%q %t", message, made)
	}
	if made, err = c.Mark(t.Context(), begun, commitA, "run 5, attempt 1\n"); err != nil || made {
		t.Errorf("made twice: %v", err)
	}
	emails := map[string]bool{}
	for _, o := range g.objects {
		emails[o["tagger"].(map[string]any)["email"].(string)] = true
	}
	if len(emails) != len(g.objects) {
		t.Error("two objects are the same")
	}
	g.never = 100
	other := strings.Replace(begun, "/begun", "/done", 1)
	_, err = c.Mark(t.Context(), other, commitA, "x")
	if wants(t, err, "forge_unreachable", 7); g.never != 100-limits.GitHubTries {
		t.Errorf("%d tries", 100-g.never)
	}
	g.never = 0
	if made, err := c.PointMark(t.Context(), "cabincrew/lines/x/y", g.refs["refs/tags/"+begun]); err != nil || !made {
		t.Errorf("%t %v", made, err)
	}
	if made, err := c.PointMark(t.Context(), "cabincrew/lines/x/y", g.refs["refs/tags/"+begun]); err != nil || made {
		t.Errorf("%t %v", made, err)
	}
	if message, made, err := c.Marked(t.Context(), "cabincrew/lines/x/y"); err != nil || !made || message != "" {
		t.Errorf("another tag's object speaks: %q %t %v", message, made, err)
	}
	g.refs["refs/tags/plain"] = commitB
	if message, made, err := c.Marked(t.Context(), "plain"); err != nil || !made || message != "" {
		t.Errorf("%q %t %v", message, made, err)
	}
	if len(s.requests()) == 0 {
		t.Error("nothing was asked")
	}
}

func TestMarksThatCannotBe(t *testing.T) {
	t.Parallel()
	c, s, _ := serve(t, one(422, map[string]string{"message": "Reference cannot be created"}))
	for _, name := range []string{"", "a..b", "/a", "a/", "a//b", ".a", "a.lock", "a b", "a\n", "a/../../b", "@{", strings.Repeat("a", 300)} {
		_, err := c.Mark(t.Context(), name, commitA, "x")
		wants(t, err, "forge_options", 1)
		_, _, err = c.Marked(t.Context(), name)
		wants(t, err, "forge_options", 1)
		_, err = c.PointMark(t.Context(), name, commitA)
		wants(t, err, "forge_options", 1)
	}
	_, err := c.Mark(t.Context(), "a", "HEAD", "x")
	wants(t, err, "forge_options", 1)
	_, err = c.PointMark(t.Context(), "a", "main")
	wants(t, err, "forge_options", 1)
	if len(s.requests()) != 0 {
		t.Errorf("asked %+v", s.requests())
	}
	c, _, _ = serve(t, func(w http.ResponseWriter, r *http.Request) { // a ruleset forbids it
		if r.Method == http.MethodGet {
			reply(w, 404, map[string]string{"message": "Not Found"})
			return
		}
		reply(w, 422, map[string]string{"message": "Repository rule violations found"})
	})
	_, err = c.PointMark(t.Context(), "a", commitA)
	wants(t, err, "forge_refused", 7)
}

func TestMarks(t *testing.T) {
	t.Parallel()
	ref := func(name, sha string) any {
		return map[string]any{"ref": "refs/tags/" + name, "object": map[string]string{"sha": sha, "type": "tag"}}
	}
	c, s, _ := serve(t, one(200, []any{ref("cabincrew/lines/x/1", commitA), ref("cabincrew/lines/x/2", commitB)}))
	got, err := c.Marks(t.Context(), "cabincrew/lines/x/")
	if must(t, err); len(got) != 2 || got["cabincrew/lines/x/2"] != commitB || s.requests()[0].path != "/repos/acme/shop/git/matching-refs/tags/cabincrew/lines/x/" {
		t.Errorf("%v by %+v", got, s.requests())
	}
	c, _, _ = serve(t, one(200, []any{ref("other", commitA)}))
	_, err = c.Marks(t.Context(), "cabincrew/lines/x/")
	wants(t, err, "forge_incomplete", 7)
}
