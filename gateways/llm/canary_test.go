package llm_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/protocol"
)

func TestCanaryFindsWhatJudgesNothing(t *testing.T) {
	t.Parallel()
	secret := leaked()["github"]
	allow := judgeFunc(func(gateways.Document) gateways.Verdict { return gateways.Verdict{Decision: protocol.Allow} })
	requestsOnly := judgeFunc(func(d gateways.Document) gateways.Verdict {
		if d.Phase == gateways.PhaseRequest {
			return denyWord("ghp_")(d)
		}
		return gateways.Verdict{Decision: protocol.Allow}
	})
	redacting := judgeFunc(func(d gateways.Document) gateways.Verdict {
		v := gateways.Verdict{Decision: protocol.Warn}
		for _, text := range d.Texts {
			if strings.Contains(text.Value, secret) {
				v.Changes = append(v.Changes, gateways.Change{At: text.At, Value: strings.ReplaceAll(text.Value, secret, "[REDACTED]")})
			}
		}
		return v
	})
	for name, c := range map[string]struct {
		o    llm.Options
		want string
	}{
		"nothing":       {llm.Options{Judge: allow}, "a prompt"},
		"requests only": {llm.Options{Judge: requestsOnly}, "an answer that must"},
		"no streams":    {llm.Options{Judge: denyWord("ghp_"), Said: allow}, "an answer that streams"},
		"all":           {llm.Options{Judge: denyWord("ghp_")}, ""},
		"redacted":      {llm.Options{Judge: redacting, Said: denyWord("ghp_")}, ""},
	} {
		f := newFeature(t, c.o, func(string, bool, []byte) string { return chatAnswer("x") })
		err := f.gw.Canary(t.Context(), secret, secret)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.sent)+len(f.trail.events) > 0 {
			t.Errorf("%s: the canary was sent or recorded", name)
		}
	}
	if err := newLeakRig(t, llm.SecretsDeny).gw.Canary(t.Context(), secret, secret); err != nil {
		t.Errorf("with the real search: %v", err)
	}
}
