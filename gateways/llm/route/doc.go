// Package route decides which provider and which model a call of the LLM gateway goes to,
// whether it may be tried again, and whether its budget allows it.
//
// It promises: what lies outside an allow-list is never in a plan and cannot be begun; the
// same call and the same state give the same plan; a call that could have done something
// is never sent twice unless it was declared idempotent; money and tokens are exact
// integers, rounded up; and everything is bounded and fails closed.
//
// It is pure: it has no network and no goroutines; the clock and chance are given to it.
package route
