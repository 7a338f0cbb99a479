package orchestrator

import (
	"errors"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

// TestSignedGlass: a signed approval whose people broke the glass counts as the
// configuration says, and in no other way.
func TestSignedGlass(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type change func(*Setup, []Witness)
	for name, c := range map[string]struct {
		change change
		code   string
	}{
		"two":             {func(*Setup, []Witness) {}, ""},
		"switched off":    {func(s *Setup, _ []Witness) { s.Config.Approvals.BreakGlass = config.BreakGlass{} }, "glass_off"},
		"nobody may":      {func(s *Setup, _ []Witness) { s.Governance.Roles = nil }, "glass_off"},
		"one, twice":      {func(_ *Setup, w []Witness) { w[1].PersonID = w[0].PersonID }, "approval_waiting"},
		"three must":      {func(s *Setup, _ []Witness) { s.Governance.Roles[0].Count = 3 }, "approval_waiting"},
		"another code":    {func(_ *Setup, w []Witness) { w[1].Code = "no" }, "approval_code"},
		"no reason":       {func(_ *Setup, w []Witness) { w[1].Reason = "" }, "approval_witness"},
		"a review beside": {func(_ *Setup, w []Witness) { w[1].Kind = "review" }, "approval_witness"},
		"no time":         {func(_ *Setup, w []Witness) { w[1].At = "" }, "approval_witness"},
		"too old":         {func(_ *Setup, w []Witness) { w[1].At = "2026-01-02T01:04:04Z" }, "glass_expired"},
		"before the plan": {func(_ *Setup, w []Witness) { w[1].At = "2026-01-02T01:00:00Z" }, "approval_too_early"},
		"another commit":  {func(_ *Setup, w []Witness) { w[1].Commit = "other" }, "approval_stale_commit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Setup{Config: &config.Config{}, Governance: Governance{Roles: []Role{{Name: config.RoleBreakGlass, Count: 1}}}}
			s.Config.Approvals.BreakGlass.Expire.Duration = 2 * time.Hour
			w := []Witness{
				{Kind: WitnessGlass, ID: "1", PersonID: "1", At: "2026-01-02T01:04:05Z", Code: "code", Reason: "it burns"},
				{Kind: WitnessGlass, ID: "2", PersonID: "2", At: "2026-01-02T03:04:05Z", Code: "code", Reason: "it burns"},
			}
			c.change(s, w)
			err := glassCounts(s, terms{code: "code", sealed: time.Date(2026, 1, 2, 1, 0, 0, 0, time.UTC)}, &ApprovalStatement{Witnesses: w}, now)
			if ok := err == nil; ok != (c.code == "") || err != nil && !errors.Is(err, protocol.Code(c.code)) {
				t.Errorf("%v", err)
			}
		})
	}
}
