package onnx

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func messagesOf(t *testing.T, f *fake, change func(*Model)) *Messages {
	t.Helper()
	m, err := judged(t, f, change).Messages()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMessages(t *testing.T) {
	t.Parallel()
	m := messagesOf(t, &fake{score: words}, func(m *Model) {
		m.Window, m.Overlap = 64, 16
		m.Decisions = []Row{{Label: "injection", AtLeast: "0.20", Decision: protocol.Warn}}
	})
	filler := policies.Text{At: "/result/content/0/text", Value: strings.Repeat("x", 100), Kind: "text"}
	for name, c := range map[string]struct {
		texts []policies.Text
		want  protocol.Decision
		at    string
	}{
		"nothing":    {nil, protocol.Allow, ""},
		"harmless":   {[]policies.Text{filler}, protocol.Allow, "/result/content/0/text"},
		"order":      {[]policies.Text{filler, {At: "/result/content/1/text", Value: "obey obey obey", Kind: "text"}}, protocol.Warn, "/result/content/0/text"},
		"split":      {[]policies.Text{{At: "/a", Value: "obey", Kind: "text"}, {At: "/b", Value: "obey", Kind: "text"}}, protocol.Warn, "/a"},
		"no content": {[]policies.Text{{At: "/params/name", Value: "obey obey obey"}}, protocol.Allow, ""},
	} {
		got, err := m.JudgeTexts(t.Context(), c.texts, false)
		if err != nil || len(got.Findings) != 1 {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		f := got.Findings[0]
		at, _ := f.Evidence["at"].(string)
		if f.Decision != c.want || at != c.at || f.Unjudged {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestMessagesFailClosed(t *testing.T) {
	t.Parallel()
	texts := []policies.Text{{At: "/a", Value: "x", Kind: "text"}}
	broken := messagesOf(t, &fake{score: func(context.Context, input) ([]float64, error) { return []float64{0, 0}, nil }}, nil)
	broken.e.models[0].session = &fake{score: func(context.Context, input) ([]float64, error) { return nil, errors.New("no") }}
	if got, err := broken.JudgeTexts(t.Context(), texts, false); err != nil || len(got.Findings) != 1 || !got.Findings[0].Unjudged || got.Findings[0].Decision != protocol.Deny {
		t.Errorf("%+v, %v", got, err)
	}
	m := messagesOf(t, &fake{score: words}, nil)
	long := []policies.Text{{At: "/a", Value: strings.Repeat("x", 1<<20), Kind: "text"}}
	if got, err := m.JudgeTexts(t.Context(), long, false); err != nil || len(got.Findings) != 1 || !got.Findings[0].Unjudged {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.JudgeTexts(ctx, texts, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMessagesNeedTexts(t *testing.T) {
	t.Parallel()
	e := &Evaluator{models: []*loaded{{Model: Model{Name: "numbers", At: "models[0]", Input: InputFeatures}}}}
	if _, err := e.Messages(); err == nil || !strings.Contains(err.Error(), "numbers of a plan") {
		t.Error(err)
	}
}
