package secrets

import (
	"encoding/json"

	"github.com/cabincrew/action/protocol"
)

// RuleInfo tells of one rule.
type RuleInfo struct {
	ID          string `json:"id"`
	Description string `json:"description"`
}

// RuleInfos tells of all rules. No pattern of them is compiled.
func RuleInfos() ([]RuleInfo, error) {
	var f struct {
		Rules []RuleInfo `json:"rules"`
	}
	if err := json.Unmarshal(ruleText, &f); err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "secrets_rules", "the rules for secrets do not parse: %w", err)
	}
	delta := RuleInfo{RuleDelta, "A binary patch takes bytes over from a file that is not at hand, so that what it makes cannot be searched for secrets."}
	return append([]RuleInfo{delta}, f.Rules...), nil
}

// RuleIDs gives the ids of all rules that an exemption can name.
func RuleIDs() ([]string, error) {
	all, err := RuleInfos()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = r.ID
	}
	return out, nil
}
