package back

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// bePaired answers requests two at a time, the second first, with all that names them.
// A notification is told to the newest request.
func bePaired(say func(string, ...any)) int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	var open []jsonrpc.Message
	for in.Scan() {
		m, err := jsonrpc.Scan(bytes.Clone(in.Bytes()), jsonrpc.Options{})
		if err != nil {
			return 1
		}
		if m.Kind != jsonrpc.Request {
			say(`{"jsonrpc":"2.0","method":"notifications/heard","params":%s}`, m.Raw)
			continue
		}
		if open = append(open, m); len(open) < 2 {
			continue
		}
		slices.Reverse(open)
		for _, m := range open {
			token, _ := jsonrpc.Lookup(m.Params, "_meta", "progressToken")
			say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1.50}}`, token)
			say(`{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"%s":%s}}}`, jsonrpc.MetaSubscription, m.ID)
			say(`{"id" : %s, "jsonrpc":"2.0","result":{"got":%s,"n":1.0e2,"_meta":{"%s":%s}}}`, m.ID, m.Raw, jsonrpc.MetaSubscription, m.ID)
		}
		open = nil
	}
	return 0
}

// TestEqualIDs: two clients of one principal share a child and count from the same id.
func TestEqualIDs(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "pairs", ChildOptions{}, link.Session{Principal: "p", Stateless: true})
	owns := map[string]bool{}
	for _, id := range []string{"1", `"a"`, "7"} {
		text := func(who string) string {
			return fmt.Sprintf(`{"id":%s,"jsonrpc":"2.0", "method":"x","params":{"who":%q,"n":1.0,"id":%s,"_meta":{"progressToken":%s}}}`, id, who, id, id)
		}
		answers := make(chan string, 2)
		for _, who := range []string{"one", "two"} {
			c := callOf(t, text(who))
			sent := make(chan struct{})
			c.Sent = func() { close(sent) }
			go func() { answers <- who + " " + all(t, s, c) }()
			<-sent
		}
		for range 2 {
			who, got, _ := strings.Cut(<-answers, " ")
			lines := strings.Split(got, "\n")
			if len(lines) != 4 {
				t.Fatalf("%s got %q", who, got)
			}
			want := []string{
				`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + id + `,"progress":1.50}}`,
				`{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"` + jsonrpc.MetaSubscription + `":` + id + `}}}`,
			}
			if lines[0] != want[0] || lines[1] != want[1] {
				t.Errorf("%s got %q", who, lines[:2])
			}
			heard, _ := jsonrpc.Lookup([]byte(lines[2]), "result", "got")
			own, _ := jsonrpc.Lookup(heard, "id")
			if owns[string(own)] {
				t.Errorf("the child knows two as %s", own)
			}
			owns[string(own)] = true
			sent := strings.Replace(strings.Replace(text(who), `{"id":`+id, `{"id":`+string(own), 1), `"progressToken":`+id, `"progressToken":`+string(own), 1)
			if string(heard) != sent {
				t.Errorf("the child got %s, want %s", heard, sent)
			}
			if end := `,"n":1.0e2,"_meta":{"` + jsonrpc.MetaSubscription + `":` + id + `}}}`; !strings.HasPrefix(lines[2], `{"id" : `+id+`, "jsonrpc":"2.0","result":`) || !strings.HasSuffix(lines[2], end) {
				t.Errorf("%s got %s", who, lines[2])
			}
		}
	}
}

// all gives what a call is answered with, line by line.
func all(t *testing.T, s link.Server, c link.Call) string {
	a, err := s.Send(t.Context(), c)
	if err != nil {
		t.Error(err)
		return ""
	}
	if a.Stream == nil {
		return string(a.Body)
	}
	defer a.Stream.Close() //nolint:errcheck // it was read
	var b strings.Builder
	for {
		ev, err := a.Stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Error(err)
			return b.String()
		}
		b.Write(ev.Data)
		b.WriteByte('\n')
	}
}

// TestEqualIDsCancelled: what is cancelled is the request that was meant, or nothing.
func TestEqualIDsCancelled(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "pairs", ChildOptions{}, link.Session{Principal: "p", Stateless: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := callOf(t, ask)
	sent := make(chan struct{})
	c.Sent = func() { close(sent) }
	failed, heard := make(chan error, 1), make(chan string, 1)
	go func() {
		a, err := s.Send(ctx, c)
		if err == nil && a.Stream != nil {
			for err == nil {
				var ev link.Event
				if ev, err = a.Stream.Next(ctx); err == nil {
					heard <- string(ev.Data)
				}
			}
			_ = a.Stream.Close()
		}
		failed <- err
	}()
	<-sent
	tell := func(id string) {
		t.Helper()
		a, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+id+`}}`))
		if err != nil || a.Status != 202 {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	tell("99") // of nobody
	tell("7")
	if got := <-heard; !strings.Contains(got, `"params":{"requestId":1}`) {
		t.Errorf("the child heard %s", got)
	}
	listen, err := s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	next, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	ev, err := listen.Stream.Next(next)
	if err != nil || !strings.Contains(string(ev.Data), `"requestId":1}`) || strings.Contains(string(ev.Data), "99") {
		t.Errorf("%s, %v", ev.Data, err)
	}
}
