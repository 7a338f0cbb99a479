package secrets

import (
	"slices"
	"testing"
)

func TestRuleIDs(t *testing.T) {
	t.Parallel()
	ids, err := RuleIDs()
	if err != nil || len(ids) < 200 || !slices.Contains(ids, "aws-access-token") || !slices.Contains(ids, RuleDelta) || slices.Contains(ids, RuleValue) || slices.Contains(ids, "") {
		t.Errorf("%d ids, %v", len(ids), err)
	}
}
