package back

import (
	"io"
	"net/http"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
)

func BenchmarkPost(b *testing.B) {
	s := serve(b, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hello"}]}}`)
	})
	rounds(b, s)
}

func BenchmarkPostStream(b *testing.B) {
	s := serve(b, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}}\n\n")
	})
	rounds(b, s)
}

func BenchmarkChild(b *testing.B) {
	_, s := childOf(b, "yes", ChildOptions{}, link.Session{Principal: "p"})
	rounds(b, s)
}

func rounds(b *testing.B, s link.Server) {
	b.Helper()
	c := callOf(b, ask)
	b.ReportAllocs()
	for b.Loop() {
		a, err := s.Send(b.Context(), c)
		for err == nil && a.Stream != nil {
			_, err = a.Stream.Next(b.Context())
		}
		if err != nil && a == nil {
			b.Fatal(err)
		}
		if a.Stream != nil {
			_ = a.Stream.Close()
		}
	}
}
