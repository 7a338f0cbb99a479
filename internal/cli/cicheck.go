package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// checkFile lies beside the decision: which check people are shown, and what stands in it.
const checkFile = "check.json"

// postedCheck is what the judging job tells the signing one of its check. Other workflows
// of the repository have tokens of the same App, and change its checks.
type postedCheck struct {
	ID          string `json:"id"`
	App         string `json:"app"`
	FlightToken string `json:"flight_token"`
	Shown       string `json:"shown"` // digest of what people read
	// Conclusion is what the signing job concludes the check with; empty where the judging
	// one did.
	Conclusion string `json:"conclusion,omitempty"`
}

func posted(k github.Check) (postedCheck, error) {
	raw, err := protocol.Canonical(map[string]string{"title": k.Title, "summary": k.Summary, "text": k.Text})
	return postedCheck{ID: k.ID, App: k.AppID, FlightToken: k.ExternalID, Shown: protocol.Digest(raw)}, err
}

// handCheck hands the judging job's check on, where a decision is handed on, and how it is
// to be concluded.
func (r *ciRun) handCheck(k github.Check, conclusion string) error {
	dir := filepath.Join(r.out, decisionPart, r.within)
	if _, err := os.Stat(dir); r.out == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p, err := posted(k)
	if err != nil {
		return err
	}
	if k.Status == checkOpen {
		p.Conclusion = conclusion
	}
	raw, err := protocol.Canonical(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, checkFile), raw, 0o600); err != nil {
		return unwritable(dir, err)
	}
	return nil
}

// handedCheck reads what the judging job handed on beside its archive.
func handedCheck(archive string) (postedCheck, error) {
	at := filepath.Join(filepath.Dir(archive), checkFile)
	var p postedCheck
	raw, err := readWhole(at, limits.Mark)
	if err == nil {
		err = protocol.Decode(raw, &p)
	}
	if err == nil && (p.ID == "" || p.FlightToken == "" || p.Shown == "") {
		err = errors.New("something is missing")
	}
	if err == nil && p.Conclusion != "" && !concludes(p.Conclusion) {
		err = fmt.Errorf("a signing job does not conclude a check as %.20q", p.Conclusion)
	}
	if err != nil {
		return p, checkChanged("what the judging job says of its check cannot be read: %w", err)
	}
	return p, nil
}

func checkChanged(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, "check_changed", format, args...).
		WithHint("look at which workflows of the repository have checks: write; then plan again")
}

// same finds the check that was posted, which must still be as it was: what is signed is
// what people were shown. SPEC: docs/threats.md T10, T44
func (p postedCheck) same(checks []github.Check, token string) (github.Check, error) {
	i := slices.IndexFunc(checks, func(k github.Check) bool { return k.ID == p.ID })
	if i < 0 {
		return github.Check{}, checkChanged("check %s, in which the plan was shown, is not there", p.ID)
	}
	k, status := checks[i], checkDone
	if p.Conclusion != "" {
		k, status = reopened(k), checkOpen
	}
	now, err := posted(k)
	if err != nil {
		return k, err
	}
	now.Conclusion = p.Conclusion
	if p.FlightToken != token || now != p || k.Status != status {
		return k, checkChanged("check %s is not what the judging job posted any more", p.ID)
	}
	return k, nil
}

// newestShown refuses a flight where a later check of ours at its commit shows another
// token: its run and artifacts can be deleted by whoever may write, that check cannot.
// A check is only ever taken against a plan: one that shows the flight's token, and that
// anybody's workflow may have made, does not outdo one of another token that came after
// the flight's run had shown its own. SPEC: docs/threats.md T39
func (r *ciRun) newestShown(ctx context.Context, f *orchestrator.Flight) error {
	checks, err := r.forge.Checks(ctx, r.headCommit(), r.checkName(planCheck))
	if err != nil {
		return err
	}
	checks = slices.DeleteFunc(checks, func(k github.Check) bool {
		return k.ExternalID == "" || slices.Contains(slices.Collect(maps.Values(r.others)), k.ExternalID) || r.check.AppID != "" && k.AppID != r.check.AppID && k.App != actionsSlug
	})
	if len(checks) == 0 {
		return nil
	}
	d, _, err := f.Derived()
	if err != nil {
		return err
	}
	since := r.seal.StartedAt
	if d.RunAttempt != r.seal.Attempt {
		since = r.seal.CreatedAt // when the earlier attempt started is not told
	}
	slices.SortFunc(checks, olderCheck)
	token := f.Status.FlightToken
	shown := false
	for i, k := range checks {
		other := k.ExternalID != token
		during := k.StartedAt.IsZero() || !k.StartedAt.Before(since)
		if shown = shown || during && !other; other && (shown || i == len(checks)-1) {
			return protocol.Errorf(protocol.ExitUnreachable, "flight_not_newest", "a later plan of commit %s that people were shown is %.80q (%s), and what the runs handed over is %s", r.headCommit(), k.ExternalID, k.URL, token).
				WithHint("an older plan never takes its place: look at who deleted the run, then plan the change anew")
		}
	}
	return nil
}

// actionsSlug is the App of the tokens of jobs.
const actionsSlug = "github-actions"
