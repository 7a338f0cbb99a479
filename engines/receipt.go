package engines

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// ReadReceipt reads the receipt of a run and refuses every way in which a run
// can have failed. Errors are those of the engine: exit 1. SPEC: docs/protocol.md 2.
func ReadReceipt(r Result, mode protocol.Mode) (protocol.EngineOutput, error) {
	var out protocol.EngineOutput
	switch {
	case r.Isolation.Over != "":
		return out, fail("engine_limit", "the engine was ended: it used more %s than it may", r.Isolation.Over).
			WithHint("make it use less, or split the step")
	case r.TimedOut:
		return out, fail("engine_timeout", "the engine ran longer than its time-out and was killed").
			WithHint("raise the step's timeout, or make the engine faster")
	case r.StdoutOver:
		return out, fail("receipt_too_large", "the receipt is larger than its limit").
			WithHint("put large results into artifacts; only the receipt belongs on stdout")
	}
	receipt, err := ParseReceipt(r.Receipt, mode)
	if r.ExitCode != 0 || r.Signal != "" {
		e := fail("engine_failed", "the engine ended with %s", ending(r))
		if err == nil && receipt.Error != "" {
			e.Message += ": " + printable(receipt.Error)
		}
		return out, e.WithHint("the engine's own log says more%s", refusals(r))
	}
	if err != nil {
		return out, err
	}
	if receipt.Status != protocol.StatusSuccess {
		return out, fail("engine_failed", "the engine reports failure: %s", printable(receipt.Error)).
			WithHint("the engine's own log says more%s", refusals(r))
	}
	return receipt, nil
}

// ParseReceipt reads receipt bytes strictly, whoever kept them.
func ParseReceipt(raw []byte, mode protocol.Mode) (protocol.EngineOutput, error) {
	var out protocol.EngineOutput
	if len(raw) == 0 {
		return out, fail("receipt_missing", "the engine gave no receipt").
			WithHint("write one EngineOutput to stdout or to CABINCREW_OUTPUT_FILE")
	}
	tree, err := protocol.DecodeTree(raw, &out)
	if err != nil {
		return out, fail("receipt_malformed", "the receipt cannot be read: %s", printable(err.Error())).
			WithHint("stdout carries the receipt and nothing else; print to stderr")
	}
	if err := schemas.ValidateValue("engine-output", tree); err != nil {
		return out, fail("receipt_invalid", "the receipt does not follow the protocol: %s", printable(err.Error()))
	}
	if v := out.ProtocolVersion; v != protocol.ProtocolVersion && !versionOne(v) {
		return out, fail("receipt_version", "the receipt has protocol version %q; this program speaks draft and 1.x", printable(v))
	}
	if out.Mode != mode {
		return out, fail("receipt_mode", "the receipt is of mode %q, the engine was run in %q", out.Mode, mode)
	}
	return out, nil
}

// versionOne says whether a protocol version is 1.x: numbers and points, nothing
// that could carry other text into a token.
func versionOne(v string) bool {
	minor, ok := strings.CutPrefix(v, "1.")
	if !ok || len(v) > 32 {
		return false
	}
	for part := range strings.SplitSeq(minor, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// refusals tells what the sandbox refused, which may be why an engine failed.
func refusals(r Result) string {
	const most = 10
	var list []string
	for _, a := range r.Isolation.Attempts {
		list = append(list, fmt.Sprintf("%s (%d times)", a.Call, a.Count))
	}
	for _, q := range r.Isolation.Requests {
		if !q.Allowed {
			list = append(list, printable(q.Method+" "+q.URL)+" ("+q.Reason+")")
		}
	}
	if len(list) == 0 {
		return ""
	}
	more := ""
	if len(list) > most {
		more = fmt.Sprintf(" and %d more", len(list)-most)
		list = list[:most]
	}
	return "; the sandbox refused it: " + strings.Join(list, ", ") + more
}

func ending(r Result) string {
	switch r.Signal {
	case "":
	case "SIGSYS":
		return "signal SIGSYS: a system call of another architecture, which the filter kills"
	case "SIGXFSZ":
		return "signal SIGXFSZ: a file larger than the sandbox allows"
	default:
		return "signal " + r.Signal
	}
	meaning := map[int]string{1: " (engine failure)", 2: " (validation failure)"}[r.ExitCode]
	return fmt.Sprintf("exit code %d%s", r.ExitCode, meaning)
}

func fail(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, code, format, args...)
}

// printable bounds and neutralises text of an engine for a message.
func printable(s string) string {
	const most = 500
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' ' // also what turns the direction of text
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}
