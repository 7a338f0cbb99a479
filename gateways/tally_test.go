package gateways

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// counts keeps events, or fails.
type counts struct {
	mu     sync.Mutex
	events []protocol.AuditEvent
	synced int
	err    error
}

func (c *counts) Append(_ context.Context, durable bool, events ...protocol.AuditEvent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if durable {
		c.synced++
	}
	c.events = append(c.events, events...)
	return nil
}

func (c *counts) messages() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]string, 0, len(c.events))
	for _, e := range c.events {
		out = append(out, e.Message)
	}
	return strings.Join(out, "; ")
}

func refusedOne() []protocol.AuditEvent {
	return []protocol.AuditEvent{{EventType: protocol.EventMCPDecision, Message: "the first"}}
}

func TestTallyIsBoundedAndLosesNothing(t *testing.T) {
	t.Parallel()
	trail := &counts{}
	at := noon()
	tally := NewTally(TallyOptions{Trail: trail, Kind: "mcp", Now: func() time.Time { return at }, Interval: time.Hour})
	of := Often{Server: "files", Principal: "agent", Policy: "gateway/limits", Reason: "too many"}
	refuse := func(n int) {
		for range n {
			if err := tally.Refused(t.Context(), of, refusedOne); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(messages string) {
		t.Helper()
		if got := trail.messages(); got != messages {
			t.Fatalf("the trail has %q, not %q", got, messages)
		}
	}
	refuse(1000)
	want("the first")
	tally.swept() // the interval is not over
	want("the first")
	tally.Settle(t.Context(), "files", "somebody else")
	want("the first")
	tally.Settle(t.Context(), "files", "agent")
	want("the first; 999 more refused: too many")
	refuse(2) // a new session is no way around the interval
	want("the first; 999 more refused: too many")
	at = at.Add(time.Hour)
	refuse(2)
	want("the first; 999 more refused: too many; 2 more refused: too many; the first")
	at = at.Add(time.Hour)
	tally.swept()
	want("the first; 999 more refused: too many; 2 more refused: too many; the first; 1 more refused: too many")
	refuse(4)
	if trail.synced != 0 {
		t.Errorf("%d refusals were synced", trail.synced)
	}
	if err := tally.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := trail.messages(); !strings.HasSuffix(got, "the first; 3 more refused: too many") || trail.synced != 1 {
		t.Fatalf("%q, %d synced", got, trail.synced)
	}
	last := trail.events[len(trail.events)-1]
	if e := last.Policy.PolicyEvaluations[0].Evidence; e["count"] != 3 || e["principal"] != "agent" || e["server"] != "files" || last.Gateway.PolicyDecision != protocol.Deny {
		t.Errorf("%+v", last)
	}
	refuse(2) // late ones are not lost, either
	if got := trail.messages(); !strings.HasSuffix(got, "the first; the first") {
		t.Fatal(got)
	}
}

func TestTallyOfManyPrincipalsIsBounded(t *testing.T) {
	t.Parallel()
	trail := &counts{}
	tally := NewTally(TallyOptions{Trail: trail, Now: noon, Interval: time.Hour, Most: 3})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			for range 10 {
				if err := tally.Refused(t.Context(), Often{Principal: fmt.Sprint(i), Reason: "too many"}, refusedOne); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := tally.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range trail.events {
		if n++; e.Policy != nil {
			n += e.Policy.PolicyEvaluations[0].Evidence["count"].(int) - 1
		}
	}
	if n != 1000 || len(trail.events) > 8 {
		t.Fatalf("%d refusals in %d events", n, len(trail.events))
	}
}

func TestTallySaysWhenItCannotRecord(t *testing.T) {
	t.Parallel()
	trail := &counts{err: errors.New("no space left on device")}
	tally := NewTally(TallyOptions{Trail: trail, Now: noon, Interval: time.Hour})
	if err := tally.Refused(t.Context(), Often{Reason: "x"}, refusedOne); !errors.Is(err, trail.err) {
		t.Fatal(err)
	}
	_ = tally.Refused(t.Context(), Often{Reason: "x"}, refusedOne) // counted
	if err := tally.Close(t.Context()); !errors.Is(err, trail.err) {
		t.Fatal(err)
	}
}
