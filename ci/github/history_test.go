package github

import (
	"reflect"
	"testing"
	"time"

	"github.com/cabincrew/action/ci"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	gone := func(id, review int, state string, by any) any {
		return map[string]any{"id": id, "event": "review_dismissed", "actor": by, "dismissed_review": map[string]any{"review_id": review, "state": state}}
	}
	items := []any{
		map[string]any{"event": "committed", "sha": commitA}, map[string]any{"event": "committed", "sha": commitB},
		map[string]any{"event": "cross-referenced", "actor": person(5, "eve"), "source": map[string]any{"type": "issue"}},
		map[string]any{"event": "reviewed", "id": 1, "state": "dismissed", "submitted_at": "2026-05-04T03:02:01Z", "updated_at": "2026-05-04T03:02:09Z"},
		map[string]any{"event": "reviewed", "id": 2, "state": "approved", "submitted_at": "2026-05-04T03:02:01Z"},
		gone(10, 1, "changes_requested", person(6, "bob")), gone(11, 1, "approved", person(5, "eve")), gone(12, 3, "approved", nil),
	}
	for range 120 {
		items = append(items, map[string]any{"event": "commented", "id": 100 + len(items), "body": "x"})
	}
	items = append(items, gone(13, 4, "CHANGES_REQUESTED", person(5, "eve"))) // on page 2
	c, _, _ := serve(t, paged(items, ""))
	got, err := c.History(t.Context(), 7)
	must(t, err)
	want := History{
		Dismissals: map[string]ci.Dismissal{
			"1": {By: ci.Person{ID: "6", Login: "bob"}, Was: ci.StateChangesRequested}, "3": {By: ci.Person{Bot: true}, Was: ci.StateApproved},
			"4": {By: ci.Person{ID: "5", Login: "eve"}, Was: ci.StateChangesRequested},
		},
		Edited: map[string]time.Time{"1": newClock().at.Add(8 * time.Second), "2": {}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for name, items := range map[string][]any{
		"a state of tomorrow":  {gone(10, 1, "endorsed", person(6, "bob"))},
		"no review":            {map[string]any{"id": 1, "event": "review_dismissed", "actor": person(6, "bob")}},
		"no object":            {"reviewed"},
		"no time":              {map[string]any{"event": "reviewed", "id": 1, "updated_at": "yesterday"}},
		"an id that is a word": {map[string]any{"event": "reviewed", "id": "x"}},
	} {
		c, _, _ := serve(t, paged(items, ""))
		if _, err := c.History(t.Context(), 7); err == nil {
			t.Error(name)
		} else {
			wants(t, err, "forge_incomplete", 7)
		}
	}
}
