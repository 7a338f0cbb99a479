// Package llmbench measures the LLM gateway beside a plain reverse proxy, each in a process
// of its own, in turns: what a request and a stream cost of the processors, what they add to
// a call, and what a stream holds of the memory.
package llmbench
