package ci

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Approved says whether every role is spoken for. No roles are no approval: who asks
// nobody does not ask here.
func Approved(counts []RoleCount) bool {
	return len(counts) > 0 && !slices.ContainsFunc(counts, func(r RoleCount) bool { return !r.Approved() })
}

// Count tells who speaks for each role of the question, in its order, and why other
// acts do not count. The order of the acts does not matter: they are ordered by their
// time. What the directory cannot tell is an error, never a "no".
// SPEC: docs/protocol.md 7
func Count(ctx context.Context, q Question, acts []Act, d Directory) ([]RoleCount, error) {
	h := newHolders(ctx, q, d)
	voices := voicesOf(acts)
	for i := range voices {
		q.weigh(&voices[i])
	}
	out := make([]RoleCount, 0, len(q.Roles))
	held := make([][]int, len(q.Roles)) // by role: the voices that hold it and count
	for i, role := range q.Roles {
		r := RoleCount{Role: role.Name, Need: max(1, role.Count)}
		for v := range voices {
			ok, err := r.hear(h, role, &voices[v])
			if err != nil {
				return nil, err
			}
			if ok {
				held[i] = append(held[i], v)
			}
		}
		out = append(out, r)
	}
	if q.Distinct {
		if err := h.distinct(q.Roles, out, held, voices); err != nil {
			return nil, err
		}
	} else {
		for i := range out {
			for _, v := range held[i] {
				out[i].By = append(out[i].By, *voices[v].yes)
			}
		}
	}
	for i, role := range q.Roles {
		slices.SortStableFunc(out[i].By, byTime)
		if !role.CodeOwners {
			continue
		}
		if err := out[i].cover(h); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// hear adds what one voice is for a role, and says whether it counts for it. Who does
// not hold the role neither approves nor blocks.
func (r *RoleCount) hear(h *holders, role Role, v *voice) (bool, error) {
	for _, x := range v.refused {
		x.Role = role.Name
		r.Refused = append(r.Refused, x)
	}
	if v.no == nil && v.yes == nil || v.yes == nil && r.Blocked != nil {
		return false, nil
	}
	ok, err := h.holds(role, v.person)
	switch {
	case err != nil:
		return false, err
	case v.no != nil && ok && r.Blocked == nil:
		lifted, err := h.lifted(role, v.no)
		if err != nil {
			return false, err
		}
		if lifted {
			r.Refused = append(r.Refused, refusal(*v.no, role.Name, dismissed(v.person)))
		} else {
			r.Blocked = v.no
		}
	case v.yes != nil && !ok:
		r.Refused = append(r.Refused, refusal(*v.yes, role.Name,
			refused("approval_role", "%s does not hold the role %q", name(v.person), role.Name)))
	}
	return v.yes != nil && ok, nil
}

// cover finds the paths whose owners are not among those who approved.
func (r *RoleCount) cover(h *holders) error {
	for _, owners := range h.lists {
		covered := false
		for i := range r.By {
			ok, err := h.owns(owners, r.By[i].Person)
			if err != nil {
				return err
			}
			if covered = ok; ok {
				break
			}
		}
		if !covered {
			r.Uncovered = append(r.Uncovered, owners)
		}
	}
	return nil
}

// voice is what one person says, all of their acts together.
type voice struct {
	person  Person
	offered []Act // approvals since they last said otherwise, newest first
	gone    *Act  // what was dismissed last, if that is the last that they said
	no      *Act
	yes     *Act // the approval that counts
	refused []Refusal
}

// voicesOf gathers the acts by person, people in the order of their ids.
func voicesOf(acts []Act) []voice {
	sorted := slices.Clone(acts)
	slices.SortStableFunc(sorted, byTime)
	var out []voice
	at := map[string]int{}
	for _, a := range sorted {
		i, ok := at[a.Person.ID]
		if !ok {
			i, at[a.Person.ID] = len(out), len(out)
			out = append(out, voice{})
		}
		out[i].person = a.Person // the newest login, which forges ask by
		if a.Kind == ActReview {
			out[i].review(a)
		}
	}
	for _, a := range sorted {
		if a.Kind == ActEnvironment {
			out[at[a.Person.ID]].environment(a)
		}
	}
	// What has no time cannot be told to be older, so it stands whatever followed.
	for _, a := range sorted {
		if a.Kind == ActReview && a.At.IsZero() && (a.State == StateChangesRequested || a.State == StateDismissed) {
			v := &out[at[a.Person.ID]]
			v.offered = slices.DeleteFunc(v.offered, func(x Act) bool { return x.Kind == ActReview })
			if a.objects() {
				v.no = &a
			} else {
				v.gone = &a
			}
		}
	}
	slices.SortFunc(out, func(a, b voice) int { return byID(a.person.ID, b.person.ID) })
	return out
}

// review takes the next review of the person: a comment is no opinion, and a review
// that was dismissed takes all before it with it.
func (v *voice) review(a Act) {
	switch a.State {
	case StateApproved:
		v.offered, v.no, v.gone = append([]Act{a}, v.offered...), nil, nil
	case StateChangesRequested, StateRejected:
		v.offered, v.no, v.gone = nil, &a, nil
	case StateDismissed:
		switch {
		case a.objects():
			v.offered, v.no, v.gone = nil, &a, nil
		case a.Dismissal.Was != StateCommented:
			v.offered, v.no, v.gone = nil, nil, &a
		}
	case StateCommented, StatePending:
	}
}

// objects says whether a review speaks against the change: one that asked for changes
// does so still after somebody else dismissed it, which all can who may write, until it
// is known that nobody did.
func (a *Act) objects() bool {
	if a.State != StateDismissed {
		return a.State == StateChangesRequested
	}
	d := a.Dismissal
	return d == nil || d.Was == StateChangesRequested && (d.By.ID == "" || d.By.ID != a.Person.ID)
}

// Unsettled says whether somebody's last word is a review that was dismissed, and
// nobody was asked yet by whom.
func Unsettled(acts []Act) bool {
	return slices.ContainsFunc(voicesOf(acts), func(v voice) bool {
		return v.no != nil && v.no.State == StateDismissed && v.no.Dismissal == nil
	})
}

// environment takes what the person said of a run. A run's approvals have no time, so
// a rejection stands whatever was said before or after it.
func (v *voice) environment(a Act) {
	switch a.State {
	case StateApproved:
		v.offered = append(v.offered, a)
	case StateRejected, StateChangesRequested:
		if v.no == nil {
			v.no = &a
		}
	case StateCommented, StatePending, StateDismissed:
	}
}

// weigh finds the approval of the person that counts, or says why none does.
func (q *Question) weigh(v *voice) {
	if v.no != nil {
		return // whatever else they said
	}
	if v.gone != nil {
		v.refused = append(v.refused, refusal(*v.gone, "", dismissed(v.person)))
	}
	var wrong []Refusal
	for i := range v.offered {
		a := &v.offered[i]
		why := q.refuse(a)
		switch {
		case why != nil:
			wrong = append(wrong, refusal(*a, "", why))
		case v.yes == nil:
			v.yes = a
		default:
			v.refused = append(v.refused, refusal(*a, "", refused("approval_twice", "%s approved twice, which counts once", name(v.person))))
		}
	}
	if v.yes == nil { // an approval that counts makes older ones idle, not wrong
		v.refused = append(v.refused, wrong...)
	}
}

// refuse says why an approval counts for no role, whoever holds it.
func (q *Question) refuse(a *Act) *protocol.Error {
	p := a.Person
	if p.Bot || p.ID == "" {
		return refused("approval_not_human", "%s is no person's account", name(p))
	}
	if why := q.excluded(p); why != nil && !q.SelfApproval {
		return why
	}
	named, wrong := namesCode(a.Text, q.Code)
	// A text that names a code which was made after its submission was edited since, by
	// whomever: it names nothing. So does one that is told to be edited.
	edited := named && !a.At.IsZero() && (!a.At.After(q.Coded) || a.Edited.Sub(a.At) > limits.ReviewSettles)
	named = named && !edited
	switch end := q.Sealed.Add(q.Expire); {
	case wrong != "":
		return refused("approval_code", "%s named the code %s, which is another flight's", name(p), wrong)
	case a.Commit != "" && a.Commit != q.Head:
		return refused("approval_stale_commit", "%s approved commit %s, and %s was planned", name(p), brief(a.Commit), brief(q.Head))
	case !a.At.IsZero() && !a.At.After(q.Sealed):
		return refused("approval_too_early", "%s approved before the plan was made, or in the same second", name(p))
	case edited && q.CodeNeeded:
		return refused("approval_edited", "the approval of %s names the code, but its text was edited after it was submitted", name(p))
	case !named && (q.CodeNeeded || a.Kind != ActReview || a.Commit == "" || a.At.IsZero() || q.Sealed.IsZero()):
		return refused("approval_code", "%s did not name the flight's code, without which this approval could be another plan's", name(p))
	case q.Expire > 0 && (a.At.After(end) || q.Now.After(end) || !a.At.IsZero() && q.Now.After(a.At.Add(q.Expire))):
		return refused("approval_expired", "the approval of %s came, or is looked at, after %s", name(p), end.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return nil
}

// hasPart says whether somebody has a part in the change.
func (q *Question) hasPart(p Person) bool { return q.excluded(p) != nil }

func (q *Question) excluded(p Person) *protocol.Error {
	for _, x := range q.Excluded {
		same := x.Person.ID == p.ID
		if x.Person.ID == "" { // all that is known of them
			same = x.Person.Login != "" && strings.EqualFold(x.Person.Login, p.Login)
		}
		if !same {
			continue
		}
		switch x.Why {
		case WhyPusher:
			return refused("approval_pusher", "%s pushed the change", name(p))
		case WhyTriggered:
			return refused("approval_triggered", "%s started a run for the change, whose pusher is a bot or not told", name(p))
		case WhyCommitAuthor:
			return refused("approval_commit_author", "%s is the author of a commit of the change", name(p))
		}
		return refused("approval_self", "%s is the author of the change", name(p))
	}
	return nil
}

func dismissed(p Person) *protocol.Error {
	return refused("approval_dismissed", "the review of %s was dismissed", name(p))
}

// refused says that an authentic approval does not count.
func refused(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitWaiting, code, format, args...)
}

func refusal(a Act, role string, why *protocol.Error) Refusal {
	return Refusal{Act: a, Role: role, Code: why.Code, Why: why.Message}
}

// byTime orders acts by their time, those without one first; at the same time by id,
// and then a no after a yes.
func byTime(a, b Act) int {
	return cmp.Or(a.At.Compare(b.At), byID(a.ID, b.ID), cmp.Compare(a.State.adverse(), b.State.adverse()), cmp.Compare(a.Kind, b.Kind),
		byID(a.Person.ID, b.Person.ID), cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.Text, b.Text), cmp.Compare(a.State, b.State))
}

// byID orders ids that are numbers as numbers.
func byID(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func (s ActState) adverse() int {
	switch s {
	case StateApproved:
		return 1
	case StateDismissed:
		return 2
	case StateChangesRequested, StateRejected:
		return 3
	case StateCommented, StatePending:
	}
	return 0
}

func name(p Person) string {
	switch {
	case p.Login != "":
		return "@" + p.Login
	case p.ID != "":
		return "account " + p.ID
	}
	return "an unknown account"
}

// brief shortens a commit for a message.
func brief(commit string) string { return commit[:min(12, len(commit))] }
