package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes of the program. They are a contract: docs/errors.md.
const (
	ExitOK          = 0   // done: allowed (perhaps with warnings), or completed
	ExitFailure     = 1   // the engine or the program failed
	ExitUsage       = 2   // wrong use: flags, configuration, a refused event
	ExitDenied      = 3   // denied by policy or rejected by a person
	ExitWaiting     = 4   // waiting for approval, or an approval that does not count
	ExitIntegrity   = 5   // a file of a flight does not parse, hash or verify
	ExitStale       = 6   // the workspace is not the planned one
	ExitUnreachable = 7   // something needed cannot be reached; nothing was let through
	ExitInterrupted = 130 // interrupted by a signal
)

// Error is an error that a person can act on: a stable code, what happened,
// where, and what to do about it. Exit is the exit code of the program.
type Error struct {
	Code    string // stable, documented in docs/errors.md, for example "artifact_undeclared"
	Message string // what happened
	Where   string // file:line, a path or a step; empty if there is no place
	Hint    string // what to do
	Exit    int    // one of the Exit constants
	Err     error  // the cause, or nil
	told    bool   // Message has the text of Err already
}

// Error gives the place, the message and the cause on one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where)
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	if e.Err != nil && !e.told {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode gives the exit code that this error has for the program.
func (e *Error) ExitCode() int {
	if e.Exit == 0 {
		return ExitFailure
	}
	return e.Exit
}

// Is makes errors.Is match two Errors by their code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Err == nil
}

// Code makes a value for errors.Is that matches every Error of that code.
func Code(code string) error { return &Error{Code: code} }

// Errorf makes an Error. The message is the whole formatted text; what %w verbs
// name stays within reach of errors.Is and errors.As.
func Errorf(exit int, code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error(), Exit: exit}
	switch err.(type) { //nolint:errorlint // the kind of wrapping that Errorf itself made, not a cause
	case interface{ Unwrap() error }:
		e.Err, e.told = errors.Unwrap(err), true
	case interface{ Unwrap() []error }:
		e.Err, e.told = err, true
	}
	return e
}

// At sets the place of the error and gives it back.
func (e *Error) At(where string) *Error { e.Where = where; return e }

// WithHint sets the remedy of the error and gives it back.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// ExitCode gives the exit code of any error: that of the first error in its
// chain that has one, 0 for nil, 1 otherwise.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var c interface{ ExitCode() int }
	if errors.As(err, &c) {
		return c.ExitCode()
	}
	return ExitFailure
}
