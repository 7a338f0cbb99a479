package mcp_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// broken says whether the trail has failed.
func (t *trail) broken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last >= 0 && t.n > t.last
}

// watched is a server that notes what it is sent once the trail is broken.
type watched struct {
	*server

	trail *trail
	late  []string
}

func (w *watched) Open(context.Context, link.Session) (link.Server, error) { return w, nil }

func (w *watched) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if w.trail.broken() {
		w.late = append(w.late, string(c.Message.Raw))
	}
	return w.server.Send(ctx, c)
}

// refusalText says whether a message is one that the gateway made to refuse another.
func refusalText(message string) bool { return strings.Contains(message, `"decision":"deny"`) }

// unrecordedRig is a guard whose trail fails at its k-th append and from then on.
func unrecordedRig(t *testing.T, k int, seen *[]mcp.Observation) (*rig, *watched) {
	t.Helper()
	w := &watched{}
	r := newRig(t, func(o *mcp.GuardOptions) {
		w.server, w.trail = o.Next.(*server), o.Trail.(*trail)
		w.trail.last = k - 1
		o.Next = w
		o.Observe = func(x mcp.Observation) { *seen = append(*seen, x) }
	})
	return r, w
}

const (
	asksClient  = `{"jsonrpc":"2.0","id":"s1","method":"roots/list"}`
	tellsClient = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`
)

// streams makes the server answer each request with a stream: given messages, then the answer.
func (r *rig) streams(before ...string) {
	r.server.answer = func(msg jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: http.StatusOK, Stream: streamOf(append(before, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"text":"done"}}`, msg.ID))...)}, nil
	}
}

// TestNothingGoesOnUnrecorded: in each direction, at whichever of its records the trail
// breaks, what was not recorded is refused, and nothing after it goes on.
func TestNothingGoesOnUnrecorded(t *testing.T) {
	t.Parallel()
	listening := func(r *rig, s *events) []string {
		r.server.listen = s
		a, err := r.Listen(r.t.Context(), http.Header{})
		if err != nil {
			r.t.Fatal(err)
		}
		return r.each(a)
	}
	for name, run := range map[string]func(r *rig) []string{
		"request and answer": func(r *rig) []string { return r.sends(call("1", "echo", `{}`)) },
		"two requests": func(r *rig) []string {
			return append(r.sends(call("1", "echo", `{}`)), r.sends(call("2", "echo", `{}`))...)
		},
		"notification of the client": func(r *rig) []string {
			return append(r.sends(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), r.sends(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)...)
		},
		"answer in a stream": func(r *rig) []string {
			r.streams(tellsClient, tellsClient)
			return r.sends(call("1", "echo", `{}`))
		},
		"request of the server": func(r *rig) []string {
			r.streams(asksClient)
			got := r.sends(call("1", "echo", `{}`))
			return append(got, r.sends(`{"jsonrpc":"2.0","id":"s1","result":{"roots":[]}}`)...)
		},
		"unasked": func(r *rig) []string { return listening(r, streamOf(tellsClient, asksClient, tellsClient)) },
		"no message as an answer": func(r *rig) []string {
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
				return &link.Answer{Status: http.StatusTeapot, Body: []byte("secret words")}, nil
			}
			return r.sends(call("1", "echo", `{}`))
		},
		"held request": func(r *rig) []string {
			r.judge.say = when("held", protocol.RequireApproval)
			r.people.reply <- gateways.Answered{Approved: true, Approver: "boss"}
			return r.sends(call("1", "echo", `{"a":"held"}`))
		},
		"held answer": func(r *rig) []string {
			r.judge.say = when("done", protocol.RequireApproval)
			r.people.reply <- gateways.Answered{Approved: true, Approver: "boss"}
			return r.sends(call("1", "echo", `{}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen []mcp.Observation
			r, w := unrecordedRig(t, 0, &seen)
			whole := run(r)
			records := r.trail.n
			if records == 0 || r.trail.broken() {
				t.Fatalf("%d records", records)
			}
			good := len(whole) + len(w.got)
			for k := 1; k <= records; k++ {
				seen = nil
				r, w := unrecordedRig(t, k, &seen)
				got := run(r)
				if !r.trail.broken() {
					t.Fatalf("the trail did not break at %d", k)
				}
				n := 0
				for _, message := range append(got, w.got...) {
					if !refusalText(message) {
						n++
					}
				}
				if n >= good {
					t.Errorf("broken at %d, as much goes on as when it is whole: %q to the client, %q to the server", k, got, w.got)
				}
				for _, message := range w.late {
					if !refusalText(message) {
						t.Errorf("broken at %d, the server was sent %s", k, message)
					}
				}
				if last := seen[len(seen)-1]; last.Decision != protocol.Deny && !strings.HasPrefix(name, "held") {
					t.Errorf("broken at %d, %s was observed of %s", k, last.Decision, last.Method)
				}
			}
		})
	}
}

// TestBatchGoesOnAsFarAsItIsRecorded: of a batch, only the parts go on that were recorded
// before the trail broke.
func TestBatchGoesOnAsFarAsItIsRecorded(t *testing.T) {
	t.Parallel()
	parts := []string{
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`, call("1", "echo", `{}`), `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
	}
	for k := 1; k <= len(parts); k++ {
		var seen []mcp.Observation
		r, w := unrecordedRig(t, k, &seen)
		r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: http.StatusAccepted}, nil }
		r.send("[" + strings.Join(parts, ",") + "]")
		want := strings.Join(parts[:k-1], ",")
		if got := strings.Join(w.got, ""); want == "" && got != "" || want != "" && got != "["+want+"]" {
			t.Errorf("broken at %d, the server was sent %s", k, got)
		}
	}
}

// sends sends a message, and demands that nothing but refusals comes once the trail broke.
func (r *rig) sends(text string) []string {
	r.t.Helper()
	return r.each(r.start(text))
}

func (r *rig) each(a *link.Answer) (out []string) {
	r.t.Helper()
	add := func(message string) {
		if r.trail.broken() && !refusalText(message) {
			r.t.Errorf("the client got %s", message)
		}
		out = append(out, message)
	}
	if a.Stream == nil {
		if len(a.Body) > 0 {
			add(string(a.Body))
		}
		return out
	}
	defer func() { _ = a.Stream.Close() }()
	for {
		ev, err := a.Stream.Next(r.t.Context())
		if err != nil {
			return out
		}
		if ev.Data != nil && !strings.Contains(string(ev.Data), "notifications/progress") {
			add(string(ev.Data))
		}
	}
}
