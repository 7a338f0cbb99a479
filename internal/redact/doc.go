// Package redact removes secret values from everything that leaves a run: logs,
// audit lines, reports, errors, and the gateways' traffic. Its automaton also
// finds the keywords of the secret scan.
//
// It promises linear time (one automaton over all values and their common
// encodings, no back-tracking), memory per stream bounded by the longest value,
// and that a value is found however a stream is cut into writes.
package redact
