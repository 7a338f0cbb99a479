package orchestrator

import (
	"errors"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// TestSignedWitness: a signed approval tells of acts that must count by themselves; that
// one names the code makes it neither newer nor of another commit (T05, T06).
func TestSignedWitness(t *testing.T) {
	t.Parallel()
	sealed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const before, between, after, late = "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z", "2026-01-02T03:04:06Z", "2026-01-02T05:04:07Z"
	review := Witness{Kind: "review", ID: "1", PersonID: "2", Person: "bob", Commit: "head", At: after}
	for name, c := range map[string]struct {
		change func(*Witness)
		now    string
		code   string
	}{
		"after the plan":              {func(*Witness) {}, after, ""},
		"with the code":               {func(w *Witness) { w.Code = "code" }, after, ""},
		"before the plan":             {func(w *Witness) { w.At = before }, after, "approval_too_early"},
		"before the plan, with code":  {func(w *Witness) { w.At, w.Code = before, "code" }, after, "approval_too_early"},
		"another commit":              {func(w *Witness) { w.Commit = "other" }, after, "approval_stale_commit"},
		"another commit, with code":   {func(w *Witness) { w.Commit, w.Code = "other", "code" }, after, "approval_stale_commit"},
		"another code":                {func(w *Witness) { w.Code = "no" }, after, "approval_code"},
		"expired":                     {func(*Witness) {}, late, "approval_expired"},
		"expired, with code":          {func(w *Witness) { w.Code = "code" }, late, "approval_expired"},
		"no time, no code":            {func(w *Witness) { w.At = "" }, after, "approval_code"},
		"no time nor commit, code":    {func(w *Witness) { w.At, w.Commit, w.Code = "", "", "code" }, after, ""},
		"no commit, no code":          {func(w *Witness) { w.Commit = "" }, after, "approval_stale_commit"},
		"no time, with code, expired": {func(w *Witness) { w.At, w.Code = "", "code" }, late, "approval_expired"},
		"no time at all":              {func(w *Witness) { w.At, w.Code = "yesterday", "code" }, after, "approval_witness"},
		"a code that was made later":  {func(w *Witness) { w.At, w.Code = between, "code" }, after, "approval_edited"},
		"nobody":                      {func(w *Witness) { w.PersonID = "" }, after, "approval_witness"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := review
			c.change(&w)
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			err = w.counts(terms{head: "head", sealed: sealed, coded: sealed.Add(500 * time.Millisecond), code: "code"}, now, 2*time.Hour)
			if ok := err == nil; ok != (c.code == "") || err != nil && !errors.Is(err, protocol.Code(c.code)) {
				t.Errorf("%v", err)
			}
		})
	}
}
