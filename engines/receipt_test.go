package engines

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

const goodReceipt = `{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"success"}`

func receipt(replace ...string) string { return strings.NewReplacer(replace...).Replace(goodReceipt) }

// refusal demands an error of a code that a person can read: bounded, printable.
func refusal(t *testing.T, err error, code string) *protocol.Error {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("code %s (%v), want %s", e.Code, err, code)
	}
	if text := err.Error(); len(text) > 4096 || strings.ContainsAny(text, "\x1b\x00\n") {
		t.Fatalf("%s: the text has %d bytes or holds control characters: %.200q", code, len(text), text)
	}
	return e
}

func TestReadReceiptRefusals(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	for name, c := range map[string]struct {
		result Result
		code   string
	}{
		"missing":             {Result{}, "receipt_missing"},
		"garbage":             {Result{Receipt: []byte("hello")}, "receipt_malformed"},
		"torn":                {Result{Receipt: []byte(goodReceipt[:40])}, "receipt_malformed"},
		"log before it":       {Result{Receipt: []byte("planning...\n" + goodReceipt)}, "receipt_malformed"},
		"trailing bytes":      {Result{Receipt: []byte(goodReceipt + "x")}, "receipt_malformed"},
		"two receipts":        {Result{Receipt: []byte(goodReceipt + "\n" + goodReceipt)}, "receipt_malformed"},
		"byte-order mark":     {Result{Receipt: []byte("\ufeff" + goodReceipt)}, "receipt_malformed"},
		"invalid UTF-8":       {Result{Receipt: []byte(receipt(`"e"`, "\"\xff\""))}, "receipt_malformed"},
		"duplicate key":       {Result{Receipt: []byte(receipt(`"status":"success"`, `"status":"failure","status":"success"`))}, "receipt_malformed"},
		"duplicate below":     {Result{Receipt: []byte(receipt(`"success"}`, `"success","diagnostics":{"a":1,"a":2}}`))}, "receipt_malformed"},
		"too deep":            {Result{Receipt: []byte(receipt(`"success"}`, `"success","diagnostics":`+deep+`}`))}, "receipt_malformed"},
		"unknown field":       {Result{Receipt: []byte(receipt(`"success"}`, `"success","approved":true}`))}, "receipt_malformed"},
		"other case":          {Result{Receipt: []byte(receipt(`"status"`, `"Status"`))}, "receipt_malformed"},
		"null for a text":     {Result{Receipt: []byte(receipt(`"e"`, `null`))}, "receipt_malformed"},
		"array":               {Result{Receipt: []byte("[" + goodReceipt + "]")}, "receipt_malformed"},
		"control in a name":   {Result{Receipt: []byte(receipt(`"success"}`, `"success","\u001b[31m\u0000":1}`))}, "receipt_malformed"},
		"giant unknown field": {Result{Receipt: []byte(receipt(`"success"}`, `"success","`+strings.Repeat("x", 1<<20)+`":1}`))}, "receipt_malformed"},
		"giant value":         {Result{Receipt: []byte(receipt(`"flight-plan"`, `"`+strings.Repeat("x", 1<<20)+`"`))}, "receipt_malformed"},
		"no engine id":        {Result{Receipt: []byte(receipt(`"engine_id":"e",`, ""))}, "receipt_malformed"},
		"unknown status":      {Result{Receipt: []byte(receipt(`"success"`, `"maybe"`))}, "receipt_malformed"},
		"other mode":          {Result{Receipt: []byte(receipt(`"flight-plan"`, `"take-off"`))}, "receipt_mode"},
		"version 2":           {Result{Receipt: []byte(receipt(`"draft"`, `"2.0"`))}, "receipt_version"},
		"version 1":           {Result{Receipt: []byte(receipt(`"draft"`, `"1"`))}, "receipt_version"},
		"version 1.":          {Result{Receipt: []byte(receipt(`"draft"`, `"1."`))}, "receipt_version"},
		"version 1.evil":      {Result{Receipt: []byte(receipt(`"draft"`, `"1.0\u001b[31m"`))}, "receipt_version"},
		"version 10.1":        {Result{Receipt: []byte(receipt(`"draft"`, `"10.1"`))}, "receipt_version"},
		"reports failure":     {Result{Receipt: []byte(receipt(`"success"}`, `"failure","error":"no \u001b[31mluck\n"}`))}, "engine_failed"},
		"exit 1":              {Result{ExitCode: 1, Receipt: []byte(goodReceipt)}, "engine_failed"},
		"exit 2":              {Result{ExitCode: 2, Receipt: []byte(goodReceipt)}, "engine_failed"},
		"exit 3":              {Result{ExitCode: 3}, "engine_failed"},
		"exit 1, giant error": {Result{ExitCode: 1, Receipt: []byte(receipt(`"success"}`, `"failure","error":"`+strings.Repeat("x", 1<<20)+`"}`))}, "engine_failed"},
		"signal":              {Result{ExitCode: -1, Signal: "SIGSEGV", Receipt: []byte(goodReceipt)}, "engine_failed"},
		"time-out":            {Result{TimedOut: true, Signal: "SIGKILL", ExitCode: -1, Receipt: []byte(goodReceipt)}, "engine_timeout"},
		"memory":              {Result{Isolation: Isolation{Over: "memory"}, Signal: "SIGKILL", ExitCode: -1, Receipt: []byte(goodReceipt)}, "engine_limit"},
		"processes":           {Result{Isolation: Isolation{Over: "processes"}, TimedOut: true, Receipt: []byte(goodReceipt)}, "engine_limit"},
		"foreign system call": {Result{Signal: "SIGSYS", ExitCode: -1, Receipt: []byte(goodReceipt)}, "engine_failed"},
		"oversized":           {Result{StdoutOver: true, Receipt: []byte(goodReceipt)}, "receipt_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadReceipt(c.result, protocol.FlightPlan)
			code := c.code
			// Which of the two refuses a shape is no promise; that one does is.
			var e *protocol.Error
			if code == "receipt_malformed" && errors.As(err, &e) && e.Code == "receipt_invalid" {
				code = e.Code
			}
			if got := refusal(t, err, code); got.Exit != protocol.ExitFailure {
				t.Fatalf("exit %d, want %d", got.Exit, protocol.ExitFailure)
			}
		})
	}
}

func TestReadReceiptTellsTheEnding(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		result Result
		want   string
	}{
		{Result{ExitCode: 1}, "exit code 1 (engine failure)"},
		{Result{ExitCode: 2}, "exit code 2 (validation failure)"},
		{Result{ExitCode: 77}, "exit code 77"},
		{Result{ExitCode: -1, Signal: "SIGSEGV"}, "signal SIGSEGV"},
		{Result{ExitCode: -1, Signal: "SIGSYS"}, "signal SIGSYS: a system call of another architecture"},
		{Result{ExitCode: -1, Signal: "SIGXFSZ"}, "signal SIGXFSZ: a file larger than the sandbox allows"},
		{Result{ExitCode: -1, Signal: "SIGKILL", Isolation: Isolation{Over: "memory"}}, "it used more memory than it may"},
		{Result{Isolation: Isolation{Over: "processes"}, Receipt: []byte(goodReceipt)}, "it used more processes than it may"},
		{Result{ExitCode: 1, Receipt: []byte(receipt(`"success"}`, `"failure","error":"no licence"}`))}, "no licence"},
		{Result{Receipt: []byte(receipt(`"success"}`, `"failure","error":"no licence"}`))}, "no licence"},
	} {
		_, err := ReadReceipt(c.result, protocol.FlightPlan)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q in it", c.result, err, c.want)
		}
	}
}

// TestRefusalsAreTold tells a failed engine, and only that, what the sandbox refused.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	var many []sandbox.Attempt
	for i := range 12 {
		many = append(many, sandbox.Attempt{Call: fmt.Sprintf("call%d", i), Count: i})
	}
	hostile := Request{Method: "GET", URL: "http://e.example/\x1b[2J\n" + strings.Repeat("x", 10_000), Reason: "host_not_listed"}
	failed := []byte(receipt(`"success"}`, `"failure","error":"no licence"}`))
	for name, c := range map[string]struct {
		result Result
		want   []string
		never  []string
	}{
		"nothing":  {Result{ExitCode: 1}, []string{"log says more"}, []string{"refused"}},
		"attempts": {Result{ExitCode: 1, Isolation: Isolation{Attempts: many[1:3]}}, []string{"; the sandbox refused it: call1 (1 times), call2 (2 times)"}, []string{"more)"}},
		"many":     {Result{ExitCode: 1, Isolation: Isolation{Attempts: many}}, []string{"call9 (9 times) and 2 more"}, []string{"call10"}},
		"requests": {Result{ExitCode: 1, Isolation: Isolation{Requests: []Request{
			{Method: "GET", URL: "https://good.example/", Allowed: true, Status: 500}, {Method: "POST", URL: "https://api.example/x?y", Reason: "method_in_plan"},
		}}}, []string{"refused it: POST https://api.example/x?y (method_in_plan)"}, []string{"good.example"}},
		"hostile":          {Result{Signal: "SIGTERM", ExitCode: -1, Isolation: Isolation{Requests: []Request{hostile}}}, []string{"(host_not_listed)"}, nil},
		"reported failure": {Result{Receipt: failed, Isolation: Isolation{Attempts: many[1:2]}}, []string{"no licence", "refused it: call1 (1 times)"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadReceipt(c.result, protocol.FlightPlan)
			e := refusal(t, err, "engine_failed")
			text := e.Error() + e.Hint
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q lacks %q", text, w)
				}
			}
			for _, w := range append(c.never, "\x1b", "\n") {
				if strings.Contains(text, w) {
					t.Errorf("%q has %q", text, w)
				}
			}
			if len(text) > 2048 {
				t.Errorf("the text has %d bytes", len(text))
			}
		})
	}
	if _, err := ReadReceipt(Result{Receipt: []byte(goodReceipt), Isolation: Isolation{Attempts: many}}, protocol.FlightPlan); err != nil {
		t.Errorf("an engine that went on after a refusal: %v", err)
	}
}

func TestReadReceiptAccepts(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		goodReceipt, goodReceipt + "\n", " " + goodReceipt, receipt(`"draft"`, `"1.0"`), receipt(`"draft"`, `"1.12.3"`),
		receipt(`"success"}`, `"success","diagnostics":null,"warnings":["w"],"metrics":[{"name":"m","value":1.5e3}]}`),
	} {
		got, err := ReadReceipt(Result{Receipt: []byte(raw)}, protocol.FlightPlan)
		if err != nil || got.EngineID != "e" {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	for _, seed := range []string{
		goodReceipt, "", "{}", goodReceipt + "x", receipt(`"draft"`, `"1.0"`), receipt(`"flight-plan"`, `"take-off"`),
		receipt(`"success"}`, `"success","artifacts":[{"name":"a","role":"evidence","path":"a","hash":"sha256:00","size":1}]}`),
		receipt(`"success"}`, `"success","diagnostics":{"a":[null,1e400,"\ud800"]}}`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := ParseReceipt(raw, protocol.FlightPlan)
		if err != nil {
			var e *protocol.Error
			if !errors.As(err, &e) || e.Exit != protocol.ExitFailure {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if out.Mode != protocol.FlightPlan || out.EngineID == "" && !strings.Contains(string(raw), `""`) ||
			out.Status != protocol.StatusSuccess && out.Status != protocol.StatusFailure {
			t.Fatalf("accepted %q as %+v", raw, out)
		}
		again, err := ParseReceipt(raw, protocol.FlightPlan)
		if err != nil || again.EngineID != out.EngineID {
			t.Fatalf("read twice, two answers: %v", err)
		}
	})
}
