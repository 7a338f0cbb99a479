package forge

import (
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestT06EditedReview has the text of a review be edited after it was submitted, by
// whomever: GitHub keeps the time of submission, and that is what counts.
func TestT06EditedReview(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rest string
		text func(code string) string
		want string
	}{
		"an approval":     {byReview, func(code string) string { return "fine " + code }, "before the plan was made"},
		"with the code":   {byCode, func(code string) string { return "fine " + code }, "before the plan was made"},
		"the glass break": {glass, fire, "of 1 approved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.rest, nil)
			p := r.open("feature", "two\n")
			early := []*githubtest.Review{p.Review(r.bob, githubtest.Approved, ""), p.Review(r.carol, githubtest.Approved, "")}
			r.hub.Advance(time.Second)
			got := r.plan(p, "opened", 0)
			for _, v := range early {
				p.Edit(v, c.text(codeIn(t, read(t, got.got.outputs["report-path"]))))
			}
			r.hub.Advance(time.Second)
			r.landRefused(p, 4, c.want)
		})
	}
}

// TestT06CodeWrittenInLater plans the same again, and writes the code of the second
// flight into the review of the first.
func TestT06CodeWrittenInLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, byCode, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	v := p.Review(r.bob, githubtest.Approved, "fine")
	time.Sleep(time.Until(r.hub.Now()) + time.Second) // plans are sealed by this machine's clock
	got := r.plan(p, "reopened", 0)
	p.Edit(v, "fine "+codeIn(t, read(t, got.got.outputs["report-path"])))
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, "its text was edited")
}
