// Package llm is the gateway for calls of models. Each call is read whole, judged,
// rewritten where that was decided, recorded, and only then sent to a provider; the
// answer is judged before the client sees it, also while it streams.
//
// It promises: nothing goes to a provider, and nothing comes back from one, that was not
// judged and recorded; what is let through are the same bytes but for what was decided to
// be changed; a stream that is stopped, or that breaks off, ends with an error that the
// clients of its format see; and what cannot be judged or recorded is denied.
//
// SPEC: docs/protocol.md 10
package llm
