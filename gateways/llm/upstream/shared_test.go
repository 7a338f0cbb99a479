package upstream

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestSharedWhileAway says that a value is used on for a time where nobody can be asked for
// it, and not where it is refused.
func TestSharedWhileAway(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	var fail error
	fetches := 0
	s := &shared{life: t.Context(), now: func() time.Time { return at }}
	s.fetch = func(context.Context, string) (string, time.Time, time.Time, error) {
		fetches++
		if fail != nil {
			return "", time.Time{}, time.Time{}, fail
		}
		return "v", at.Add(time.Minute), at.Add(time.Hour), nil
	}
	away, refused := awayError{errors.New("away")}, errors.New("refused")
	for i, c := range []struct {
		later time.Duration
		fail  error
		from  string
		well  bool
		asked int
	}{
		{0, away, "a", false, 1},
		{time.Second, nil, "a", false, 1}, // not asked again so soon
		{2 * time.Second, nil, "a", true, 2},
		{50 * time.Second, nil, "a", true, 2},
		{time.Minute, away, "a", true, 3},
		{time.Second, away, "a", true, 3},
		{50 * time.Minute, away, "a", true, 4},
		{time.Second, away, "b", false, 5}, // another key's value is never used
		{10 * time.Second, nil, "a", true, 6},
		{2 * time.Minute, refused, "a", false, 7},
		{2 * time.Minute, away, "a", false, 8},
		{2 * time.Minute, nil, "a", true, 9},
		{2 * time.Hour, away, "a", false, 10},
	} {
		at, fail = at.Add(c.later), c.fail
		v, err := s.get(t.Context(), c.from)
		if (err == nil) != c.well || (v == "v") != c.well || fetches != c.asked {
			t.Errorf("%d: %q, %v, asked %d times", i, v, err, fetches)
		}
	}
}
