package mcp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

type noTrail struct{}

func (noTrail) Append(context.Context, bool, ...protocol.AuditEvent) error { return nil }

type noJudge struct{ v gateways.Verdict }

func (j noJudge) Judge(context.Context, gateways.Document, time.Time) (gateways.Verdict, error) {
	return j.v, nil
}

// texts is a judge that reads every text, as a scan for secrets does.
type texts struct{ v gateways.Verdict }

func (j texts) Judge(_ context.Context, d gateways.Document, _ time.Time) (gateways.Verdict, error) {
	for _, t := range d.Texts {
		if strings.Contains(t.Value, "-----BEGIN PRIVATE KEY-----") {
			return gateways.Verdict{Decision: protocol.Deny}, nil
		}
	}
	return j.v, nil
}

// BenchmarkGuardCall is one tool call there and back through the guard alone: an echo of
// about a kilobyte, pinned tools and rules of paths on, no disk.
func BenchmarkGuardCall(b *testing.B) {
	v := gateways.Verdict{Decision: protocol.Allow, Evaluations: []protocol.PolicyEvaluation{{Source: "opa", PolicyID: "bench", Decision: protocol.Allow}}}
	for name, j := range map[string]gateways.Judge{"noop": noJudge{v}, "texts": texts{v}} {
		for _, size := range []int{64, 1024, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) { benchmark(b, j, size) })
		}
	}
}

func benchmark(b *testing.B, j gateways.Judge, size int) {
	text := strings.Repeat("lorem ipsum ", size/12+1)[:size]
	raw := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"text":"` + text + `","n":7}}}`)
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + text + `"}],"isError":false}}`)
	s := &server{answer: func(m jsonrpc.Message) (*link.Answer, error) {
		if m.Method == "tools/list" {
			return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"tools":[` + toolRead + `]}}`)
		}
		return &link.Answer{Status: 200, Body: answer}, nil
	}}
	g, err := mcp.NewGuard(mcp.GuardOptions{
		Server: "bench", Next: quiet{s}, Judge: j, Trail: noTrail{}, Paths: files{}, Pins: lock{"read": "Reads."},
		Now: time.Now, NewID: func() string { return "req" }, Log: slog.New(slog.DiscardHandler),
	}).Open(b.Context(), link.Session{ID: "s", Principal: "agent"})
	if err != nil {
		b.Fatal(err)
	}
	m, err := jsonrpc.Scan(raw, jsonrpc.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := g.Send(b.Context(), link.Call{Message: m, Header: http.Header{}})
		if err != nil || len(a.Body) != len(answer) {
			b.Fatalf("%s, %v", a.Body, err)
		}
	}
}

// quiet is a server that remembers nothing.
type quiet struct{ *server }

func (q quiet) Open(context.Context, link.Session) (link.Server, error) { return q, nil }

func (q quiet) Send(_ context.Context, c link.Call) (*link.Answer, error) { return q.answer(c.Message) }
