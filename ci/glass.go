package ci

import (
	"context"
	"slices"
	"strings"
	"time"
)

// glassMark begins the line of a review that breaks the glass.
const glassMark = "break-glass:"

// GlassLeast is how many people break the glass, at least.
const GlassLeast = 2

// GlassReason gives the reason of a text that breaks the glass; "" where it does not.
func GlassReason(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if len(line) > len(glassMark) && strings.EqualFold(line[:len(glassMark)], glassMark) {
			return strings.TrimSpace(line[len(glassMark):])
		}
	}
	return ""
}

// Glass tells who breaks the glass: people of a role, none of them excluded whatever the
// question lets people do themselves, each by an approving review that gives a reason,
// names the code and is not older than a time. SPEC: docs/protocol.md 7
func Glass(ctx context.Context, q Question, role Role, expire time.Duration, acts []Act, d Directory) (RoleCount, error) {
	role.Count = max(role.Count, GlassLeast)
	q.Roles, q.CodeNeeded, q.SelfApproval, q.Distinct = []Role{role}, true, false, false
	acts = slices.DeleteFunc(slices.Clone(acts), func(a Act) bool {
		if a.Kind != ActReview {
			return true
		}
		late := a.At.IsZero() || q.Now.After(a.At.Add(expire))
		return a.State == StateApproved && (GlassReason(a.Text) == "" || late || !Names(a.Text, q.Code))
	})
	counts, err := Count(ctx, q, acts, d)
	if err != nil {
		return RoleCount{}, err
	}
	return counts[0], nil
}
