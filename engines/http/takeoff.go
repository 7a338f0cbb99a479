package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"os"
	"strconv"
	"time"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// planned is one request as it was planned.
type planned struct {
	*request

	artifact string // its name
	fields   nethttp.Header
	body     []byte
	timeout  time.Duration
}

// outcome is how a request ended, as the receipt tells it.
type outcome struct {
	Artifact  string `json:"artifact"`
	Outcome   string `json:"outcome"`
	Status    int    `json:"status,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Truncated bool   `json:"truncated,omitempty"` // bytes and digest are those of the beginning
}

// The outcomes of a request.
const (
	expected      = "expected"      // answered as expected
	unexpected    = "unexpected"    // answered with another status
	indeterminate = "indeterminate" // it may have been sent, but there is no whole answer
	notSent       = "not_sent"      // nothing of it reached the host
	notTried      = "not_tried"     // an earlier one failed
)

// takeOff sends what was planned, each request once, up to the first failure.
func takeOff(ctx context.Context, k *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(k.Input.Config)
	if err != nil {
		return nil, err
	}
	list, err := s.readPlan(k)
	if err != nil {
		return nil, err
	}
	send, err := newSender(k.Env)
	if err != nil {
		return nil, err
	}
	return fly(ctx, k, send, list)
}

// fly sends the requests and makes the receipt, which also tells of a failure.
func fly(ctx context.Context, k *kit.Run, send *sender, list []planned) (*protocol.EngineOutput, error) {
	outcomes := make([]outcome, 0, len(list))
	out := &protocol.EngineOutput{Status: protocol.StatusSuccess}
	sent, size := 0, int64(0)
	for i := range list {
		p := &list[i]
		if out.Status == protocol.StatusFailure {
			outcomes = append(outcomes, outcome{Artifact: p.artifact, Outcome: notTried})
			continue
		}
		o, failure := send.once(ctx, p)
		if outcomes = append(outcomes, o); o.Outcome != notSent {
			sent++
		}
		if size += o.Bytes; o.Truncated {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s: the response has more than %d bytes; its digest is that of the beginning", p.artifact, limits.HTTPResponseBytes))
		}
		if failure != nil {
			out.Status, out.Error = protocol.StatusFailure, fmt.Sprintf("request %d of %d, %s, %s (%s)", i+1, len(list), p.artifact, failure.Message, before(i, len(list)))
			k.Logf("%s [%s]", out.Error, failure.Code)
			continue
		}
		k.Logf("%s: status %d, %d bytes", p.artifact, o.Status, o.Bytes)
	}
	raw, err := protocol.Canonical(outcomes)
	if err != nil {
		return nil, err
	}
	out.ReceiptID = kit.ReceiptID(ID, protocol.Digest(raw))
	out.Diagnostics = map[string]any{"requests": outcomes}
	out.Metrics = []protocol.EngineMetric{
		{Name: "requests_planned", Value: number(int64(len(list)))},
		{Name: "requests_sent", Value: number(int64(sent))},
		{Name: "response_bytes", Value: number(size)},
	}
	return out, nil
}

func before(i, all int) string {
	return fmt.Sprintf("%d before it were answered as expected, %d after it were not sent", i, all-i-1)
}

func number(n int64) protocol.Number { return protocol.Number(strconv.FormatInt(n, 10)) }

// readPlan reads the planned requests and refuses a plan that is not, to the byte,
// what the configuration and the planned bodies give.
func (s *settings) readPlan(k *kit.Run) ([]planned, error) {
	if err := s.checkNames(k.Artifacts); err != nil {
		return nil, err
	}
	list := make([]planned, 0, len(s.requests))
	for i := range s.requests {
		r := &s.requests[i]
		name := artifactName(i, r)
		a, body, err := k.Planned(name, limits.HTTPBodyBytes)
		if err != nil {
			return nil, err
		}
		have, err := protocol.Canonical(a)
		if err != nil {
			return nil, kit.InvalidPlan("artifact %s cannot be read: %w", name, err)
		}
		want, err := protocol.Canonical(s.describe(i, body))
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(have, want) || r.source == keyBody && string(body) != r.text {
			return nil, kit.InvalidPlan("artifact %s is not what %s declares", name, r.key)
		}
		p := planned{request: r, artifact: name, body: body, timeout: s.timeout}
		if p.fields, err = r.fill(k, have); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// checkNames makes sure that the plan has an artifact for each request and no other.
func (s *settings) checkNames(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return kit.InvalidPlan("the artifacts directory cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	entries, err := f.ReadDir(limits.HTTPRequests + 2)
	if err != nil && !errors.Is(err, io.EOF) {
		return kit.InvalidPlan("the artifacts directory cannot be read: %w", err)
	}
	declared := map[string]bool{summaryName: true}
	for i := range s.requests {
		declared[artifactName(i, &s.requests[i])] = true
	}
	for _, e := range entries {
		if !declared[e.Name()] {
			return kit.InvalidPlan("the plan has an artifact %q, which the configuration does not declare", e.Name())
		}
	}
	return nil
}

// fill gives the headers of a request with its secrets. The messages name secrets
// and never show them.
func (r *request) fill(k *kit.Run, description []byte) (nethttp.Header, error) {
	out := nethttp.Header{}
	for name, value := range r.headers {
		m := placeholderPattern.FindStringSubmatchIndex(value)
		if m == nil {
			out[name] = []string{value}
			continue
		}
		secret := value[m[2]:m[3]]
		text, ok := k.Secret(secret)
		if !ok {
			return nil, protocol.Errorf(protocol.ExitUsage, "http_secret", "the secret %s for the header %s is not there", secret, name).At(r.at("secrets")).
				WithHint("map it under the step's secrets")
		}
		filled := value[:m[0]] + text + value[m[1]:]
		if text == "" || badFieldValue(filled) != "" || badFieldValue(text) != "" {
			return nil, protocol.Errorf(protocol.ExitUsage, "http_secret", "the secret %s cannot stand in the header %s", secret, name).At(r.at("secrets")).
				WithHint("a header holds one line of ASCII that can be seen; look for a line break or a space at an end of the secret")
		}
		out[name] = []string{filled}
	}
	if r.idempotencyKey {
		key, err := protocol.HCanonical("idempotency-key", map[string]any{
			"workflow_id": k.Input.Meta.WorkflowID, "step_id": k.Input.Meta.StepID, "artifact": protocol.Digest(description),
		})
		if err != nil {
			return nil, err
		}
		out[idempotencyHeader] = []string{key[len("sha256:"):]}
	}
	return out, nil
}
