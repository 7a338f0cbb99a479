package route

import (
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Class is how far a call came before it failed.
type Class int

// The classes of failures. The zero value is the one that allows least.
const (
	ClassSent      Class = iota // a byte of the request or more was written, and no whole answer came
	ClassConnect                // not one byte of the request was written
	ClassStatus                 // the provider answered with Failure.Status
	ClassCancelled              // the client went away, or the gateway stopped the call
)

// Failure is what went wrong with one attempt.
type Failure struct {
	Class      Class
	Status     int           // with ClassStatus
	RetryAfter time.Duration // what the provider asked for, 0 if it did not
}

// Attempt is an attempt that failed, and what the call had used by then.
type Attempt struct {
	N          int           // 1 is the first
	Elapsed    time.Duration // since the call began
	Seen       bool          // the client saw a byte of an answer
	Idempotent bool          // doing the call twice was declared harmless
	Failure    Failure
}

// Step is what may be done next. Wait is for a retry; a fallback need not wait.
type Step struct {
	Retry    bool
	Fallback bool
	Wait     time.Duration
}

// Retry says whether a call may be tried again, and when.
type Retry struct {
	Attempts      int                 // in all, with fallbacks
	Base, Max     time.Duration       // the wait before the second attempt, and the longest
	Deadline      time.Duration       // of the whole call
	MaxRetryAfter time.Duration       // a provider that asks for more is not waited for
	Random        func(n int64) int64 // evenly one of 0 to n-1
}

// Check refuses a policy that cannot be meant.
func (r Retry) Check() error {
	switch {
	case r.Random == nil || r.Deadline <= 0:
		return wrong("retries have no deadline or no source of chance")
	case r.Attempts < 1 || r.Attempts > limits.LLMRouteAttempts:
		return wrong("a call is tried between 1 and %d times", limits.LLMRouteAttempts)
	case r.Base < 0 || r.Max < r.Base || !within(int64(r.Max), int64(limits.LLMRouteRest)):
		return wrong("the waits between retries are not between 0 and %s", limits.LLMRouteRest)
	case r.MaxRetryAfter < 0 || r.MaxRetryAfter > limits.LLMRouteRest:
		return wrong("the longest Retry-After is not between 0 and %s", limits.LLMRouteRest)
	}
	return nil
}

// Next says what may be done after a failed attempt. It gives an error where nothing may:
// a call that could have done something is never sent again silently.
func (r Retry) Next(a Attempt) (Step, error) {
	retry, fallback, why := a.safe()
	switch {
	case why != "":
	case a.N < 1 || a.N >= r.Attempts:
		why = "it was tried as often as it may be"
	case a.Elapsed < 0 || a.Elapsed >= r.Deadline:
		why = "its deadline has passed"
	}
	if why != "" {
		return Step{}, protocol.Errorf(protocol.ExitUnreachable, "llm_retry_refused", "the call failed and is not sent again: %s", why).
			WithHint("look at the provider; send the call again yourself where doing it twice is harmless")
	}
	s := Step{Retry: retry, Fallback: fallback}
	if retry {
		s.Wait = max(r.jitter(a.N), a.Failure.RetryAfter)
		if a.Failure.RetryAfter > r.MaxRetryAfter || s.Wait >= r.Deadline-a.Elapsed {
			s = Step{Fallback: fallback}
		}
	}
	return s, nil
}

// safe says what the failure itself allows, or why nothing.
func (a Attempt) safe() (retry, fallback bool, why string) {
	if a.Seen {
		return false, false, "the client saw a part of an answer"
	}
	switch a.Failure.Class {
	case ClassConnect:
		return true, true, ""
	case ClassCancelled:
		return false, false, "it was cancelled"
	case ClassStatus:
		return a.answered()
	case ClassSent:
	}
	if a.Failure.Class == ClassSent && a.Idempotent {
		return true, true, ""
	}
	return false, false, "the request was sent, so that it may have been done, and it is not declared idempotent"
}

// answered is safe for an answer with a status.
func (a Attempt) answered() (retry, fallback bool, why string) {
	switch s := a.Failure.Status; {
	case s == 429 || s == 503 || s == 529:
		return true, true, "" // the provider says that it did nothing
	case !a.Idempotent:
		return false, false, "the provider answered with status " + strconv.Itoa(s) + ", and the call is not declared idempotent"
	case s == 408 || s >= 500 && s <= 599:
		return true, true, ""
	case s == 401 || s == 403 || s == 404:
		return false, true, "" // the same answer would come again from the same provider
	default:
		return false, false, "the provider answered with status " + strconv.Itoa(s)
	}
}

// jitter is a wait between nothing and twice the one before it (full jitter).
func (r Retry) jitter(n int) time.Duration {
	most := r.Base
	for i := 1; i < n && most < r.Max; i++ {
		most *= 2
	}
	most = min(most, r.Max)
	wait := time.Duration(r.Random(int64(most) + 1))
	return max(0, min(wait, most))
}

// RetryAfter reads a Retry-After header: seconds, or a date. What it cannot read is 0;
// what is longer than the gateway would ever wait is one second longer than that.
// SPEC: RFC 9110, 10.2.3.
func RetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	most := limits.LLMRouteRest + time.Second
	digits := header != "" && strings.Trim(header, "0123456789") == ""
	if digits {
		n, err := strconv.ParseInt(header, 10, 32)
		if err != nil || n > int64(most/time.Second) {
			return most
		}
		return time.Duration(n) * time.Second
	}
	at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", header)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), most))
}
