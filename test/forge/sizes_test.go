package forge

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// TestSizesAreBytes plans far more than GitHub shows, in characters of several bytes: the
// fake refuses a field or a comment by one byte too many, and 51 annotations at once.
func TestSizesAreBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	config := strings.Replace(r.configuration(byReview+"comment: true\nchecks: per-step\n"), "cp app.txt out.txt",
		`for i in $(seq 1100); do for j in 1 2 3 4 5 6 7 8 9 10; do printf 'ééééééééééééééééééééééééééééééééééééééééééééééééééééééééé %s %s\n' $i $j; done > out-$i.txt; done`, 1)
	r.onMain(map[string]string{".cabincrew.yaml": config})
	r.endorse(r.repo.Tip("refs/heads/main"))
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	k, step := r.lastCheck(planCheck), r.lastCheck(planCheck+" / edit")
	if len(k.Annotations) != 1000 || !strings.Contains(k.Summary, "remarks more than a check holds") {
		t.Errorf("there are %d annotations", len(k.Annotations))
	}
	for name, c := range map[string]struct {
		text string
		most int
	}{
		"summary": {k.Summary, 65_535}, "text": {k.Text, 65_535}, "summary of the step": {step.Summary, 65_535}, "text of the step": {step.Text, 65_535},
		"the job's summary": {got.got.summary, 1 << 20}, "comment": {r.repo.Comments(p.Number)[0].Body, 65_536},
	} {
		if n := len(c.text); n == 0 || n > c.most || !strings.Contains(c.text, "é") && name != "summary" && name != "summary of the step" {
			t.Errorf("%s has %d bytes, at most %d", name, n, c.most)
		}
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(1e9)
	r.landRefused(p, 4, "code") // people were not shown all of it
}
