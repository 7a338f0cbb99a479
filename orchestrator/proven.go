package orchestrator

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// doneMark is the content of the mark that the take-off of a token ended: of which
// flight, and the signed statement of it. Whoever may make marks makes one that says so,
// but nobody else signs the statement. SPEC: docs/protocol.md 9
type doneMark struct {
	Flight    string          `json:"flight"`
	Statement json.RawMessage `json:"statement,omitempty"`
}

func doneOf(token string) string { return tokenMark(token) + ".done" }

// ReadDone reads the content of the mark that a token's take-off ended: the flight, and
// the bundle of its take-off statement, which is not verified yet.
func ReadDone(content string) (flight string, statement []byte, err error) {
	var m doneMark
	if len(content) > limits.Mark {
		return "", nil, errors.New("it is too long")
	}
	if err := protocol.Decode([]byte(content), &m); err != nil {
		return "", nil, err
	}
	if m.Flight == "" || len(m.Statement) == 0 {
		return m.Flight, nil, errors.New("it holds no signed statement")
	}
	return m.Flight, m.Statement, nil
}

// tokenEnds marks that the flight's token took off to its end. A command that is killed
// before leaves a token that began and has no end: then a person looks.
func (o *Orchestrator) tokenEnds(f *Flight) error {
	if o.Fence == nil || f.Status.State != protocol.StateCompleted {
		return nil // also one that failed needs a person
	}
	err := o.oneEnds(f, f.Status.FlightToken)
	if err == nil && o.InsteadOf != "" {
		err = o.oneEnds(f, o.InsteadOf)
	}
	return err
}

func (o *Orchestrator) oneEnds(f *Flight, token string) error {
	by, made, err := o.Fence.Marked(tokenMark(token))
	if err != nil {
		return unfenced(err)
	}
	if !made || by != f.ID() {
		return nil
	}
	mark := doneMark{Flight: f.ID()}
	statement, err := f.ReadFile(TakeOffBundle, limits.Approval)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing is signed here
	case err != nil:
		return err
	case len(statement) <= limits.MarkStatement:
		mark.Statement = statement
	}
	content, err := protocol.Canonical(mark)
	if err != nil {
		return err
	}
	made, err = o.Fence.Mark(doneOf(token), string(content))
	if err != nil {
		return unfenced(err)
	}
	if made {
		return nil
	}
	if there, _, err := o.Fence.Marked(doneOf(token)); err != nil {
		return unfenced(err)
	} else if flight, _, err := ReadDone(there); there != string(content) && (err != nil || flight != f.ID()) {
		return unproven("this flight took off to its end, and somebody else had made that mark before")
	}
	return nil
}

// endedHere is tokenEnds for a flight that is verified and ended before, on this machine.
func (o *Orchestrator) endedHere(f *Flight) error {
	here, err := o.tookOffHere(f)
	if err != nil || !here {
		return err
	}
	return o.tokenEnds(f)
}

// proven verifies that the mark of a token's end tells the truth: a signed statement says
// that the flight which began it completed, for the same change and commit.
// SPEC: docs/protocol.md 9, docs/threats.md T38
func (o *Orchestrator) proven(f *Flight, v *verified, by, content string) error {
	if v.plan == nil {
		return nil // nothing is signed here, so nothing can be proven
	}
	flight, statement, err := ReadDone(content)
	if err != nil {
		return unproven("%w", err)
	}
	got, err := o.Signatures.Ended(statement)
	if err != nil {
		return unproven("its statement: %w", err)
	}
	token := got.FlightToken
	if got.InsteadOf == f.Status.FlightToken {
		token = got.InsteadOf // this plan was stale, and used up by the one that took off
	}
	type said struct{ what, says, is string }
	all := []said{
		{"flight", flight, by}, {"signed flight", got.WorkflowID, by}, {"flight token", token, f.Status.FlightToken}, {"verdict", got.Verdict, VerdictCompleted},
	}
	for _, p := range v.plans {
		c, d := p.preimage.Context, got.Derived
		all = append(all, said{"forge", d.Forge, c.Forge}, said{"repository", d.RepositoryID, c.Repository}, said{"change", d.Change, c.Change}, said{"commit", d.HeadCommit, c.HeadCommit})
	}
	for _, x := range all {
		if x.says != x.is {
			return unproven("it says %s %q, where %q took off", x.what, x.says, x.is)
		}
	}
	return nil
}

func unproven(format string, args ...any) error {
	return integrity("takeoff_unproven", "a mark says that this plan took off to its end, and no signed statement proves it: "+format, args...).
		WithHint("a person looks at who made the marks, and at what was applied; the plan does not take off by itself any more")
}
