package terraform

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// marker stands where a sensitive value was. It is the same for all of them.
const marker = "(sensitive value)"

// slot is a place of a plan that holds values, not words with a fixed meaning.
type slot struct {
	in  map[string]any
	key string
}

// hider removes sensitive values: first what masks cover, which it remembers,
// then the same values wherever else a slot has them.
type hider struct {
	slots   []slot
	whole   map[string]bool
	numbers map[string]bool
}

func newHider() *hider {
	return &hider{whole: map[string]bool{}, numbers: map[string]bool{}}
}

// value makes in[key] a slot and removes what the mask covers. A value that is
// null altogether (a resource that does not exist yet) stays null.
func (h *hider) value(in map[string]any, key string, mask any) {
	v, ok := in[key]
	if !ok {
		return
	}
	if v != nil {
		in[key] = h.masked(v, mask)
	}
	h.slots = append(h.slots, slot{in, key})
}

// masked gives v without what the mask covers. A mask that does not fit the
// shape of v and covers something covers all of v.
func (h *hider) masked(v, mask any) any {
	if !covers(mask) {
		return v
	}
	switch m := mask.(type) {
	case map[string]any:
		if object, ok := v.(map[string]any); ok {
			for k := range object {
				object[k] = h.masked(object[k], m[k])
			}
			return object
		}
	case []any:
		if list, ok := v.([]any); ok && len(list) == len(m) {
			for i := range list {
				list[i] = h.masked(list[i], m[i])
			}
			return list
		}
	}
	h.remember(v)
	return marker
}

// covers says whether a mask covers anything. What is no mask covers all.
func covers(mask any) bool {
	switch m := mask.(type) {
	case nil:
		return false
	case bool:
		return m
	case map[string]any:
		for k := range m {
			if covers(m[k]) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(m, covers)
	}
	return true
}

// remember keeps every text and number in v, but no keys: these are mostly names
// of attributes, and keys are replaced nowhere.
func (h *hider) remember(v any) {
	switch x := v.(type) {
	case string:
		if len(x) >= limits.TerraformHideWhole && x != marker {
			h.whole[x] = true
		}
	case json.Number:
		if len(x) >= limits.TerraformHidePart {
			h.numbers[x.String()] = true
		}
	case []any:
		for i := range x {
			h.remember(x[i])
		}
	case map[string]any:
		for k := range x {
			h.remember(x[k])
		}
	}
}

// finish hides what was remembered in all slots.
func (h *hider) finish() error {
	if len(h.whole)+len(h.numbers) > limits.TerraformHidden {
		return protocol.Errorf(protocol.ExitFailure, "terraform_plan_too_large", "the plan has more than %d different sensitive values", limits.TerraformHidden).
			WithHint("split the module, or limit the plan with targets")
	}
	if len(h.whole)+len(h.numbers) == 0 {
		return nil
	}
	var parts []string
	for text := range h.whole {
		if len(text) >= limits.TerraformHidePart && len(text) <= limits.TerraformHidePartMost {
			parts = append(parts, text)
		}
	}
	// The longest first, so that one value inside another leaves no rest.
	slices.SortFunc(parts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(parts))
	for _, p := range parts {
		pairs = append(pairs, p, marker)
	}
	inside := strings.NewReplacer(pairs...)
	for _, s := range h.slots {
		s.in[s.key] = h.hidden(s.in[s.key], inside)
	}
	return nil
}

func (h *hider) hidden(v any, inside *strings.Replacer) any {
	switch x := v.(type) {
	case string:
		if h.whole[x] {
			return marker
		}
		return inside.Replace(x)
	case json.Number:
		if h.numbers[x.String()] {
			return marker
		}
	case []any:
		for i := range x {
			x[i] = h.hidden(x[i], inside)
		}
	case map[string]any:
		for k := range x {
			x[k] = h.hidden(x[k], inside)
		}
	}
	return v
}
