package github

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/ci"
)

// History is what became of the reviews of a pull request, by their ids.
type History struct {
	Dismissals map[string]ci.Dismissal
	Edited     map[string]time.Time // when each was changed last, as far as GitHub tells
}

// History reads what became of the reviews of a pull request, which the list of the
// reviews does not tell: who dismissed them and what they had said, and when they were
// changed.
func (c *Client) History(ctx context.Context, number int) (History, error) {
	k := call{what: fmt.Sprintf("read the timeline of pull request %d", number), need: "pull-requests: read", path: fmt.Sprintf("issues/%d/timeline", number)}
	out := History{Dismissals: map[string]ci.Dismissal{}, Edited: map[string]time.Time{}}
	nameless := 0
	events, err := list(ctx, c, listing[json.RawMessage]{call: k, id: func(raw json.RawMessage) string {
		var e struct {
			ID   ident  `json:"id"`
			Kind string `json:"event"`
		}
		if json.Unmarshal(raw, &e) != nil || e.ID == "" {
			nameless++ // such as commits and mentions: nothing is asked of them
			return "nameless " + strconv.Itoa(nameless)
		}
		return e.Kind + " " + string(e.ID)
	}})
	if err != nil {
		return History{}, err
	}
	for _, raw := range events {
		if err := out.add(raw); err != nil {
			return History{}, c.odd(k, "%s", err)
		}
	}
	return out, nil
}

func (h *History) add(raw json.RawMessage) error {
	var kind struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return err
	}
	switch strings.ToLower(kind.Event) {
	case "reviewed":
		var w struct {
			ID      ident `json:"id"`
			Changed stamp `json:"updated_at"`
		}
		if err := json.Unmarshal(raw, &w); err != nil {
			return err
		}
		h.Edited[string(w.ID)] = w.Changed.Time
	case "review_dismissed":
		var w struct {
			Actor  *user `json:"actor"`
			Review struct {
				ID    ident  `json:"review_id"`
				State string `json:"state"`
			} `json:"dismissed_review"`
		}
		if err := json.Unmarshal(raw, &w); err != nil {
			return err
		}
		was, known := reviewState(w.Review.State)
		if !known || w.Review.ID == "" {
			return fmt.Errorf("review %s was dismissed in the state %.30q, which nobody here knows", w.Review.ID, w.Review.State)
		}
		if h.Dismissals[string(w.Review.ID)].Was != ci.StateChangesRequested {
			h.Dismissals[string(w.Review.ID)] = ci.Dismissal{By: w.Actor.person(), Was: was}
		}
	}
	return nil
}
