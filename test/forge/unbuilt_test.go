package forge

import (
	"strings"
	"testing"
)

// TestSettingsWithoutEffectAreTold: what is not built yet is not taken silently.
func TestSettingsWithoutEffectAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {carry_over: same-intent, roles: {platform: {users: [bob]}}}\ntake_off: {on_stale: replan}\n", nil)
	got := r.plan(r.open("feature", "two\n"), "opened", 0)
	for _, key := range []string{"carry_over", "on_stale"} {
		if !strings.Contains(got.got.summary, key) {
			t.Errorf("the report says nothing of %s:\n%s", key, got.got.summary)
		}
	}
}
