package back

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// sayf writes to a client that may be gone.
func sayf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// large is a message of about 3.9 MB: four of them fill the room.
func large() string {
	return `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"` + strings.Repeat("x", 3_900_000) + `"}}`
}

const fits = limits.MCPBackRoom / limits.MCPMessageBytes

// TestLargeEventsWaitForRoom: of many streams with large messages no more are read than
// there is room for, until some were judged; small messages go on all the while.
func TestLargeEventsWaitForRoom(t *testing.T) {
	t.Parallel()
	var first atomic.Int32
	s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.Method == http.MethodPost {
			sayf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n")
			return
		}
		first.Add(1)
		sayf(w, "data: %s\n\n", large())
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	const streams = fits + 4
	events := make(chan link.Event, streams)
	ctx, cancel := context.WithCancel(t.Context())
	for range streams {
		a, err := s.Listen(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Stream.Close() })
		go func() {
			ev, err := a.Stream.Next(ctx)
			if err == nil {
				events <- ev
			}
		}()
	}
	var have []link.Event
	for range fits {
		have = append(have, <-events)
	}
	a, err := s.Send(t.Context(), callOf(t, ask))
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := a.Stream.Next(t.Context()); err != nil || len(ev.Data) == 0 || ev.Free != nil {
		t.Errorf("a small message: %v, %v", ev, err)
	}
	_ = a.Stream.Close()
	select {
	case <-events:
		t.Errorf("more than %d large messages were read and none judged", fits)
	case <-time.After(200 * time.Millisecond):
	}
	for i := range have {
		have[i].Judged()
		have[i].Judged() // once is as good as twice
	}
	for range streams - fits {
		ev := <-events
		ev.Judged()
	}
	cancel()
}

// TestLargeAnswersWaitForRoom: the same for answers that are no streams.
func TestLargeAnswersWaitForRoom(t *testing.T) {
	t.Parallel()
	s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		sayf(w, `{"jsonrpc":"2.0","id":7,"result":{"x":%q}}`, strings.Repeat("x", 3_900_000))
	})
	var have []*link.Answer
	for range fits {
		a, err := s.Send(t.Context(), callOf(t, ask))
		if err != nil || a.Free == nil {
			t.Fatal(a, err)
		}
		have = append(have, a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Send(ctx, callOf(t, ask)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more: %v", err)
	}
	have[0].Judged()
	a, err := s.Send(t.Context(), callOf(t, ask))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(have[1:], a) {
		a.Judged()
	}
}

// TestStalledLargeMessageEnds: a server that begins a large message and stops gives its
// room back, and is told of.
func TestStalledLargeMessageEnds(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"stream": "text/event-stream", "body": "application/json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", head)
				if name == "stream" {
					sayf(w, "%s", "data: ")
				}
				sayf(w, "%s", large()[:200_000])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			session, ok := s.(*httpSession)
			if !ok {
				t.Fatalf("%T", s)
			}
			session.room.time = 100 * time.Millisecond
			a, err := s.Send(t.Context(), callOf(t, ask))
			if err == nil && a.Stream != nil {
				_, err = a.Stream.Next(t.Context())
				defer a.Stream.Close() //nolint:errcheck // it is over
			}
			isDown(t, err, "did not end a large message within")
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := session.room.free.Acquire(ctx, limits.MCPBackRoom); err != nil {
				t.Errorf("room is missing: %v", err)
			}
		})
	}
}

// TestClosedStreamGivesItsRoomBack: also one that was in the midst of a large message.
func TestClosedStreamGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		sayf(w, "data: %s", large()[:200_000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	session, ok := s.(*httpSession)
	if !ok {
		t.Fatalf("%T", s)
	}
	a, err := s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Stream.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if session.room.free.TryAcquire(limits.MCPBackRoom) {
		t.Error("the message took no room")
	}
	_ = a.Stream.Close()
	if !session.room.free.TryAcquire(limits.MCPBackRoom) {
		t.Error("room is missing")
	}
}
