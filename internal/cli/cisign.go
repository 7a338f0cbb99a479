package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// signJob signs what another job judged. It sees the manifest and the decisions, and
// no byte that an engine wrote. SPEC: docs/threats.md T42.
func (r *ciRun) signJob() error {
	if err := r.maySeal(); err != nil {
		return err
	}
	at, err := r.given(decisionPart)
	if err != nil {
		return err
	}
	if err := r.deriveSealed(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	id, err := r.bring(at)
	if err != nil {
		return err
	}
	if err := r.onlyDecisions(id); err != nil {
		return err
	}
	check, err := handedCheck(at)
	if err != nil {
		return err
	}
	shown := &judgedCheck{posted: check}
	if err := r.signShown(id, shown); err != nil {
		return errors.Join(err, r.notSigned(shown, err))
	}
	return nil
}

// signShown signs what a check shows, and puts the signature into it.
func (r *ciRun) signShown(id string, shown *judgedCheck) error {
	r.onForge = func(s *session) error {
		if err := r.runIs(s); err != nil {
			return err
		}
		s.crew.Before = r.beforeSigning(s.crew.Before, shown)
		return nil
	}
	if err := r.with(r.ctx, func(s *session) error { return r.sign(s, id) }); err != nil {
		return err
	}
	if err := r.exportPart(id, signedPart); err != nil {
		return err
	}
	return r.publishSigned(shown)
}

func (r *ciRun) sign(s *session, id string) error {
	f, err := s.write([]string{id})
	if err == nil {
		err = s.underPlanned(r.ctx, f, false)
	}
	if err != nil {
		return err
	}
	if err := s.crew.Sign(r.ctx, f, s.setup); err != nil {
		return err
	}
	r.code, r.codeAsked = s.crew.Code(f), s.crew.CodeNeeded(f) || s.setup.Config.Approvals.Binding == config.BindingCode
	if r.report.Bundle, err = f.ReadFile(orchestrator.PlanBundle, limits.BundleBytes); err != nil {
		return err
	}
	r.report.BundleDigest = protocol.Digest(r.report.Bundle)
	return r.tell(f)
}

// onlyDecisions refuses a flight with files that are none of the signing job's business.
func (r *ciRun) onlyDecisions(id string) error {
	return r.withStore(func(s *session) error {
		dir, err := s.find([]string{id})
		if err != nil {
			return err
		}
		return fs.WalkDir(dir.Root().FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !decided(name) {
				err = protocol.Errorf(protocol.ExitIntegrity, "file_extra", "the signing job has no business with it").At(name)
			}
			return err
		})
	})
}

// judgedCheck is the check in which the judging job showed the plan to people.
type judgedCheck struct {
	posted postedCheck
	check  github.Check // as it is now
	cut    bool         // not everything was shown
}

// beforeSigning finds the check of what is signed. Where people were not shown
// everything, an approval must name the code. SPEC: docs/threats.md T44.
func (r *ciRun) beforeSigning(earlier func(context.Context, string) (orchestrator.Sealed, error), shown *judgedCheck) func(context.Context, string) (orchestrator.Sealed, error) {
	return func(ctx context.Context, token string) (out orchestrator.Sealed, err error) {
		if earlier != nil {
			if out, err = earlier(ctx, token); err != nil {
				return out, err
			}
		}
		checks, err := r.forge.Checks(ctx, r.shownAt(), r.planName())
		if err != nil {
			return out, err
		}
		if shown.check, err = shown.posted.same(checks, token); err != nil {
			return out, err
		}
		shown.cut = ci.Withheld(shown.check.Summary)
		out.Other = out.Other || shown.cut
		return out, nil
	}
}

// olderCheck orders checks by their numbers.
func olderCheck(a, b github.Check) int {
	return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
}

// publishSigned puts the signed plan into the check that the judging job made, and the
// approval code where that shows everything, and concludes it as that job decided.
func (r *ciRun) publishSigned(shown *judgedCheck) error {
	k := shown.check
	if k.ID == "" {
		return nil
	}
	code, err := r.signedText("", k.Summary)
	if err != nil {
		return err
	}
	if shown.posted.Conclusion != "" {
		k = closed(k, shown.posted.Conclusion)
	}
	if summary := ci.WithCode(k.Summary, r.code); code != "" && len(summary) <= limits.GitHubCheckText {
		k.Summary = summary
	}
	was := k.Text
	for _, whole := range [][]byte{r.report.Bundle, nil} { // or by its digest alone
		rep := r.report
		rep.Bundle = whole
		if text := was + "\n" + code + rep.Text(limits.GitHubCheckText).Markdown; len(text) <= limits.GitHubCheckText {
			k.Text = text
			break
		}
	}
	k.Annotations, k.Actions = nil, r.replanButton(k)
	if k, err = r.forge.UpdateCheck(r.ctx, k); err != nil {
		return err
	}
	return r.job.Output("check-run-url", k.URL)
}
