package audit

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/protocol"
)

// redactEvent replaces secrets in every text of an event that people, engines
// or tools wrote. Texts of a fixed form (ids of this project, hashes, times,
// states, decisions, the plan-token) stay as they are. What the caller's event
// points to is copied, not changed.
func redactEvent(e *protocol.AuditEvent, redact func(string) string) error {
	text := func(s string) string { return strings.ToValidUTF8(redact(s), "\uFFFD") }
	// The reference to the WAL is ours, and a short secret must not break it.
	if message, seq, checksum, ok := cutRef(e.Message); ok {
		e.Message = strings.ReplaceAll(text(message), refOpen, " (wal ") + WALRef(seq, checksum)
	} else if ref, ok := RefOf(*e); ok && ref.Recovery {
		begin := Recovered(ref.Seq)
		e.Message = begin + text(strings.TrimPrefix(e.Message, begin))
	} else {
		e.Message = text(e.Message)
	}
	e.Engine = copyOf(e.Engine, func(x *protocol.AuditEngine) {
		x.EngineID, x.ReceiptID, x.Error = text(x.EngineID), text(x.ReceiptID), text(x.Error)
	})
	e.Approval = copyOf(e.Approval, func(x *protocol.AuditApproval) {
		x.Approver, x.Reason = text(x.Approver), text(x.Reason)
	})
	e.IntegrityCheck = copyOf(e.IntegrityCheck, func(x *protocol.AuditIntegrity) {
		x.Differences = texts(x.Differences, text)
	})
	e.Gateway = copyOf(e.Gateway, func(x *protocol.AuditGateway) {
		x.GatewayType, x.RequestID, x.Model, x.Tool = text(x.GatewayType), text(x.RequestID), text(x.Model), text(x.Tool)
	})
	e.Artifacts = slices.Clone(e.Artifacts)
	for i := range e.Artifacts {
		x := &e.Artifacts[i]
		x.Name, x.Path = text(x.Name), text(x.Path)
	}
	var err error
	e.Policy = copyOf(e.Policy, func(x *protocol.AuditPolicy) {
		x.Violations, x.Warnings, x.Engine = texts(x.Violations, text), texts(x.Warnings, text), text(x.Engine)
		x.PolicyEvaluations = slices.Clone(x.PolicyEvaluations)
		for i := range x.PolicyEvaluations {
			p := &x.PolicyEvaluations[i]
			p.PolicyID, p.Reason = text(p.PolicyID), text(p.Reason)
			if p.Evidence, err = redactMap(p.Evidence, text); err != nil {
				err = fmt.Errorf("evidence of %s: %w", p.PolicyID, err)
				return
			}
		}
	})
	return err
}

func copyOf[T any](p *T, change func(*T)) *T {
	if p == nil {
		return nil
	}
	c := *p
	change(&c)
	return &c
}

func texts(list []string, text func(string) string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = text(list[i])
	}
	return list
}

// redactMap brings evidence of whatever Go types into plain JSON values, so
// that no text in it is overlooked, and redacts names and texts at any depth.
func redactMap(m map[string]any, text func(string) string) (map[string]any, error) {
	if len(m) == 0 {
		return nil, nil
	}
	if plain(m, 0) {
		if asIs(m, text) { // which nearly all evidence is, and nobody writes to it
			return m, nil
		}
		redacted, _ := redactTree(m, text).(map[string]any)
		return redacted, nil
	}
	raw, err := protocol.Canonical(m)
	if err != nil {
		return nil, err
	}
	tree, err := protocol.DecodeAny(raw)
	if err != nil {
		return nil, err
	}
	redacted, ok := redactTree(tree, text).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("evidence is not an object")
	}
	return redacted, nil
}

// plain says whether a value is of plain JSON values already, which is what nearly all
// evidence is: then nothing in it is overlooked without writing and reading it.
func plain(v any, depth int) bool {
	switch v := v.(type) {
	case nil, bool, int, int64:
		return true
	case string:
		return utf8.ValidString(v)
	case []any:
		return depth < protocol.MaxDepth && !slices.ContainsFunc(v, func(x any) bool { return !plain(x, depth+1) })
	case map[string]any:
		for name, x := range v {
			if depth >= protocol.MaxDepth || !utf8.ValidString(name) || !plain(x, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

// asIs says whether redaction leaves a plain value as it is.
func asIs(v any, text func(string) string) bool {
	switch v := v.(type) {
	case string:
		return text(v) == v
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !asIs(x, text) })
	case map[string]any:
		for name, x := range v {
			if text(name) != name || !asIs(x, text) {
				return false
			}
		}
	}
	return true
}

func redactTree(v any, text func(string) string) any {
	switch v := v.(type) {
	case string:
		return text(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = redactTree(v[i], text)
		}
		return out
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names) // two names may become one; which gets the number must not depend on the map's order
		out := make(map[string]any, len(v))
		for _, name := range names {
			to := text(name)
			for n := 2; ; n++ {
				if _, taken := out[to]; !taken {
					break
				}
				to = fmt.Sprintf("%s#%d", text(name), n)
			}
			out[to] = redactTree(v[name], text)
		}
		return out
	default:
		return v
	}
}
