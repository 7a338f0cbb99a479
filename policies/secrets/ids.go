package secrets

import (
	"encoding/json"

	"github.com/cabincrew/action/protocol"
)

// RuleIDs gives the ids of all rules that an exemption can name. No pattern of them
// is compiled.
func RuleIDs() ([]string, error) {
	var f struct {
		Rules []struct {
			ID string `json:"id"`
		} `json:"rules"`
	}
	if err := json.Unmarshal(ruleText, &f); err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "secrets_rules", "the rules for secrets do not parse: %w", err)
	}
	out := []string{RuleDelta}
	for _, r := range f.Rules {
		out = append(out, r.ID)
	}
	return out, nil
}
