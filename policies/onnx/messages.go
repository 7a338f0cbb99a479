package onnx

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Messages judges the texts of messages of a gateway. It is safe for concurrent use.
type Messages struct{ e *Evaluator }

// Messages gives a judge of messages with the same models. Models that take numbers are
// made for plans and refused.
func (e *Evaluator) Messages() (*Messages, error) {
	for _, m := range e.models {
		if m.Input != InputString {
			return nil, configError(m.At+".input", "model %q takes numbers of a plan; a gateway has texts only", m.Name)
		}
	}
	return &Messages{e}, nil
}

// JudgeTexts judges what a message says, arguments, descriptions, content and errors: all
// of it as one text, in the windows that the models are made for. Which artifacts a model
// reads says nothing here. An error is the end of ctx.
func (m *Messages) JudgeTexts(ctx context.Context, texts []policies.Text, _ bool) (policies.Opinion, error) {
	var out policies.Opinion
	t := messageText(texts)
	for _, model := range m.e.models {
		found := m.judge(ctx, model, t)
		if ctx.Err() != nil {
			return policies.Opinion{}, context.Cause(ctx)
		}
		out.Findings = append(out.Findings, found...)
	}
	return out, nil
}

// joined is the text of a message with the places that its parts come from.
type joined struct {
	text   string
	begins []int64
	at     []string
}

func messageText(texts []policies.Text) joined {
	var t joined
	var b strings.Builder
	for _, part := range texts {
		if part.Kind == "" || strings.TrimSpace(part.Value) == "" {
			continue
		}
		t.begins, t.at = append(t.begins, int64(b.Len())), append(t.at, part.At)
		b.WriteString(part.Value)
		b.WriteByte('\n')
	}
	t.text = b.String()
	return t
}

// where gives the pointer of the text that an offset lies in.
func (t *joined) where(offset int64) string {
	at := ""
	for i, begin := range t.begins {
		if begin > offset {
			break
		}
		at = t.at[i]
	}
	return at
}

func (m *Messages) judge(ctx context.Context, model *loaded, t joined) []policies.Finding {
	limited, cancel := context.WithTimeout(ctx, model.Timeout)
	defer cancel()
	r := &reading{model: model, tops: newTops(len(model.Labels)), runtime: m.e.runtime}
	err := m.e.readText(limited, r, t.text)
	switch {
	case err == nil:
		found := r.findings()
		for i := range found {
			if label, ok := found[i].Evidence["label"].(string); ok {
				at := t.where(r.tops[model.column(label)].offset)
				found[i].Evidence["at"] = at
				found[i].Reason += " from " + at + " on"
			}
		}
		return found
	case limited.Err() != nil:
		err = context.DeadlineExceeded
	}
	return []policies.Finding{r.failed(err)}
}

// readText gives a model one text, window by window.
func (e *Evaluator) readText(ctx context.Context, r *reading, text string) error {
	if len(text) > limits.GatewayModelBytes {
		return protocol.Errorf(protocol.ExitDenied, "model_input", "the message has more than %d bytes of text", limits.GatewayModelBytes).
			WithHint("ask for less, or take the model out of the gateway's configuration")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range min(cap(e.slots), 1+len(text)/max(r.model.Window, 1)) {
		workers.Go(func() {
			for j := range jobs {
				if err := e.run(ctx, r, j); err != nil {
					cancel(err) // the first error is the one that is told
				}
			}
		})
	}
	body := source{open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	err := r.windowsOf(ctx, body, jobs)
	close(jobs)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
