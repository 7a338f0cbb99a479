package llm

import (
	"net/http"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/frames"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// window lets judges that read meaning judge what came of a lane since they were asked
// last, with some of what was before. Nothing is given on that they have not seen.
func (s *stream) window(l *lane, ends bool) *stop {
	judge := s.x.g.o.Windows
	if judge == nil || len(l.raw) == l.seen || !ends && len(l.raw)-l.seen < limits.LLMWindow {
		return nil
	}
	from := max(0, l.seen-limits.LLMWindow/2)
	for from > 0 && l.raw[from]&0xc0 == 0x80 { // a window begins with a character
		from--
	}
	to := len(l.raw)
	if !ends {
		to = from + frames.Cut(l.raw[from:], to-from)
	}
	text := gateways.Text{At: "/answer/texts/0", Value: string(l.raw[from:to]), Kind: gateways.KindText}
	v, err := judge.Judge(s.x.ctx, s.x.answerDocument(said{texts: []gateways.Text{text}, spoken: []string{text.Value}}), s.x.g.o.Now())
	l.seen = to
	switch {
	case err != nil && s.x.gone():
		return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
	case err != nil:
		return stopped(outcomeDenied, http.StatusForbidden, "answer_unjudged", "the answer was stopped: it could not be judged")
	case v.Decision == protocol.Deny, len(v.Changes) > 0:
		s.verdict.Evaluations = append(s.verdict.Evaluations, v.Evaluations...)
		s.verdict.Violations = append(s.verdict.Violations, v.Violations...)
		s.verdict.Hidden.Join(v.Hidden)
		return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: "+reasonOf(v))
	case v.Decision == protocol.RequireApproval:
		s.hold(v)
		s.verdict.Evaluations = append(s.verdict.Evaluations, v.Evaluations...)
	}
	return nil
}
