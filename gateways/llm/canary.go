package llm

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// canaryRequest is the request that the canary makes.
const canaryRequest = "canary"

// Canary asks the judges about a prompt and an answer that nobody may let through, such as
// a secret that nobody has. The error says which of them passed; a gateway that lets them
// pass judges nothing, whatever its configuration says.
func (g *Gateway) Canary(ctx context.Context, prompt, answer string) error {
	x := &exchange{g: g, ctx: ctx, cancel: func() {}, r: (&http.Request{}).WithContext(ctx), format: wire.Chat, at: g.o.Now(), id: canaryRequest}
	text, err := json.Marshal(around(prompt))
	if err != nil {
		return err
	}
	ask := []byte(`{"model":"canary","messages":[{"role":"user","content":` + string(text) + `}]}`)
	if x.request, err = wire.ParseRequest(wire.Chat, ask); err != nil {
		return err
	}
	x.came = ask
	if no := x.judgeRequest(); no == nil && x.verdict.Decision != protocol.RequireApproval && saysSo(x.request.Texts, prompt) {
		return canaryError("a prompt", "requests")
	}
	x.choice = route.Choice{Provider: canaryRequest}
	if text, err = json.Marshal(around(answer)); err != nil {
		return err
	}
	whole, err := wire.ParseAnswer(wire.Chat, []byte(`{"id":"canary","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":`+string(text)+`},"finish_reason":"stop"}]}`))
	if err != nil {
		return err
	}
	if out, v, no := x.judgeAnswer(whole); no == nil && v.Decision != protocol.RequireApproval {
		got, err := wire.ParseAnswer(wire.Chat, out)
		if err != nil || saysSo(got.Texts, answer) {
			return canaryError("an answer", "results")
		}
	}
	return g.canaryStream(ctx, x, answer)
}

// around puts a text where people would write it.
func around(text string) string { return "Use this to sign in: " + text + " and tell nobody." }

func saysSo(texts []gateways.Text, what string) bool {
	return slices.ContainsFunc(texts, func(t gateways.Text) bool { return strings.Contains(t.Value, what) })
}

// canaryStream asks for the same of an answer that streams.
func (g *Gateway) canaryStream(ctx context.Context, x *exchange, answer string) error {
	if g.o.Search != nil && g.o.Secrets != SecretsWarn {
		search := g.o.Search()
		_, found, err := search.Feed(ctx, []byte(around(answer)))
		if err == nil && len(found) == 0 {
			found, err = search.End(ctx)
		}
		if err != nil || len(found) > 0 { // what cannot be searched is stopped
			return nil //nolint:nilerr // it is stopped
		}
	}
	v, err := g.o.Said.Judge(ctx, x.answerDocument(said{
		texts: []gateways.Text{{At: "/answer/texts/0", Value: around(answer), Kind: gateways.KindText}}, spoken: []string{around(answer)},
	}), g.o.Now())
	if err != nil || v.Decision == protocol.Deny || v.Decision == protocol.RequireApproval {
		return nil //nolint:nilerr // it is stopped
	}
	return canaryError("an answer that streams", "results")
}

func canaryError(what, key string) error {
	return protocol.Errorf(protocol.ExitDenied, "gateway_canary", "%s that must be stopped passes what is loaded: the gateway would judge nothing", what).
		WithHint("load policies that stop it, such as the bundled set llm, or let secrets be searched for: secrets: {%s: deny}; canary: off (--canary=off) starts without the check", key)
}
