package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
)

func TestErrorfKeepsEveryCause(t *testing.T) {
	t.Parallel()
	inner := Errorf(ExitStale, "inner_code", "inside").At("a.go:1")
	for name, c := range map[string]struct {
		err    *Error
		text   string
		causes []error
	}{
		"no cause":        {Errorf(ExitUsage, "c", "%d things", 3), "3 things", nil},
		"at the end":      {Errorf(ExitUsage, "c", "reading: %w", io.EOF), "reading: EOF", []error{io.EOF}},
		"alone":           {Errorf(ExitUsage, "c", "%w", io.EOF), "EOF", []error{io.EOF}},
		"in the middle":   {Errorf(ExitUsage, "c", "after %w nothing", io.EOF), "after EOF nothing", []error{io.EOF}},
		"at the start":    {Errorf(ExitUsage, "c", "%w came", io.EOF), "EOF came", []error{io.EOF}},
		"two":             {Errorf(ExitUsage, "c", "%w and %w", io.EOF, fs.ErrExist), "EOF and file already exists", []error{io.EOF, fs.ErrExist}},
		"an Error":        {Errorf(ExitUsage, "c", "outside: %w", inner), "outside: a.go:1: inside", []error{inner, Code("inner_code")}},
		"wrapped deeper":  {Errorf(ExitUsage, "c", "x: %w", fmt.Errorf("y: %w", io.EOF)), "x: y: EOF", []error{io.EOF}},
		"with %v":         {Errorf(ExitUsage, "c", "x: %v", io.EOF), "x: EOF", nil},
		"literal":         {&Error{Code: "c", Message: "x", Err: io.EOF, Exit: ExitUsage}, "x: EOF", []error{io.EOF}},
		"no cause at all": {Errorf(ExitUsage, "c", "x: %w", nil), "x: %!w(<nil>)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.err.Error(); got != c.text {
				t.Errorf("text %q, want %q", got, c.text)
			}
			for _, cause := range c.causes {
				if !errors.Is(c.err, cause) {
					t.Errorf("%v is out of reach", cause)
				}
			}
			if len(c.causes) == 0 && (c.err.Unwrap() != nil || errors.Is(c.err, io.EOF)) {
				t.Error("there is a cause")
			}
			if c.err.ExitCode() != ExitUsage || ExitCode(fmt.Errorf("more: %w", c.err)) != ExitUsage {
				t.Error("the exit code is lost")
			}
			if at := c.err.At("here").Error(); at != "here: "+c.text {
				t.Errorf("with a place: %q", at)
			}
		})
	}
}

func TestErrorMatchesByCode(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("outer: %w", Errorf(ExitDenied, "policy_denied", "no").At("step greet").WithHint("ask %s", "Ann"))
	if !errors.Is(err, Code("policy_denied")) || errors.Is(err, Code("policy")) || errors.Is(err, Code("")) {
		t.Error("errors.Is does not go by the code")
	}
	if errors.Is(err, &Error{Code: "policy_denied", Message: "no"}) {
		t.Error("an error with a message is no pattern")
	}
	found, ok := errors.AsType[*Error](err)
	if !ok || found.Hint != "ask Ann" || found.Where != "step greet" || found.Code != "policy_denied" {
		t.Errorf("found %+v", found)
	}
	if found.Error() != "step greet: no" {
		t.Errorf("the text is %q", found)
	}
}

type coded int

func (coded) Error() string   { return "coded" }
func (c coded) ExitCode() int { return int(c) }

func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK}, {io.EOF, ExitFailure}, {context.Canceled, ExitFailure}, {&Error{}, ExitFailure}, {Code("x"), ExitFailure},
		{Errorf(ExitIntegrity, "c", "x"), ExitIntegrity}, {fmt.Errorf("a: %w", coded(42)), 42},
		{errors.Join(io.EOF, Errorf(ExitStale, "c", "x")), ExitStale},
		{Errorf(ExitDenied, "c", "outer: %w", Errorf(ExitIntegrity, "d", "inner")), ExitDenied},
		{Errorf(ExitInterrupted, "c", "x"), 130},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: exit %d, want %d", c.err, got, c.want)
		}
	}
}
