package ci

import (
	"strconv"
	"testing"
	"time"
)

func TestGlassReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "break-glass:": "", "break-glass: ": "", "x break-glass: y": "", "break-glass y": "",
		"break-glass: it burns": "it burns", "a\r\n  Break-Glass:it burns \r\nb": "it burns", "break-glass:\nbreak-glass: z": "z",
	} {
		if got := GlassReason(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestGlass(t *testing.T) {
	t.Parallel()
	sealed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const code, text = "0123456789abcdef", "break-glass: it burns\n0123456789abcdef"
	act := func(id int, at time.Time) Act {
		n := strconv.Itoa(id)
		return Act{Kind: ActReview, ID: n, Person: Person{ID: n, Login: "u" + n}, State: StateApproved, Commit: "c", At: at, Text: text}
	}
	at := sealed.Add(time.Hour)
	for name, c := range map[string]struct {
		count int
		after time.Duration
		acts  []Act
		want  bool
	}{
		"two":                  {1, time.Minute, []Act{act(1, at), act(2, at)}, true},
		"two of three":         {3, time.Minute, []Act{act(1, at), act(2, at)}, false},
		"one is too old":       {1, 31 * time.Minute, []Act{act(1, at), act(2, at.Add(time.Minute))}, false},
		"both at the last":     {1, 30 * time.Minute, []Act{act(1, at), act(2, at)}, true},
		"one without a time":   {1, time.Minute, []Act{act(1, at), act(2, time.Time{})}, false},
		"one before the plan":  {1, time.Minute, []Act{act(1, at), act(2, sealed)}, false},
		"of an environment":    {1, time.Minute, []Act{act(1, at), {Kind: ActEnvironment, ID: "2", Person: Person{ID: "2"}, State: StateApproved, At: at, Text: text}}, false},
		"one asks for changes": {1, time.Minute, []Act{act(1, at), act(2, at), {Kind: ActReview, ID: "3", Person: Person{ID: "2"}, State: StateChangesRequested, Commit: "c", At: at.Add(1)}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := Question{Head: "c", Sealed: sealed, Code: code, SelfApproval: true, Now: at.Add(c.after), Expire: 24 * time.Hour}
			got, err := Glass(t.Context(), q, Role{Name: "break-glass", Count: c.count, Users: []string{"u1", "u2"}}, 30*time.Minute, c.acts, nil)
			if err != nil || got.Approved() != c.want {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}
