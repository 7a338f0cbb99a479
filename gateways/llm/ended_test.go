package llm_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/upstream"
)

// stalled begins to answer and waits for the end of its call.
type stalled struct {
	begin string
	began chan struct{}
}

func (s *stalled) Do(ctx context.Context, c upstream.Call) (*upstream.Answer, error) {
	if s.begin == "" {
		close(s.began)
		<-ctx.Done()
		return nil, &upstream.Failure{Reason: upstream.Cancelled, Sent: true, Err: ctx.Err()}
	}
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, s.begin)
		close(s.began)
		<-ctx.Done()
		_ = w.CloseWithError(&upstream.Failure{Reason: upstream.Cancelled, Sent: true, Err: ctx.Err()})
	}()
	return &upstream.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: r, Sent: true}, nil
}

// TestEndedCallsAreTold: a call that this side ends, because it stops or the call took too
// long, never looks as if it had been answered.
func TestEndedCallsAreTold(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"whole": "", "stream": strings.SplitAfter(chatStream("a b c "), "\n\n")[0]} {
		for _, total := range []time.Duration{0, 50 * time.Millisecond} {
			s := &stalled{begin: begin, began: make(chan struct{})}
			gw := newFeatureOver(t, llm.Options{Total: total, Hold: time.Nanosecond}, s).gw
			body := hello
			if begin != "" {
				body = strings.Replace(hello, "{", `{"stream":true,`, 1)
			}
			w := httptest.NewRecorder()
			if total == 0 {
				go func() { <-s.began; gw.Stop() }()
			}
			gw.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body)))
			got := w.Body.String()
			if endsWell(w.Code, got) || !strings.Contains(got, `"error"`) {
				t.Errorf("%s, %s: %d %s", name, total, w.Code, got)
			}
			if want := map[bool]string{true: "the gateway stops", false: "longer than a call may"}[total == 0]; !strings.Contains(got, want) {
				t.Errorf("%s, %s: %s", name, total, got)
			}
		}
	}
}
