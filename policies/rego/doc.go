// Package rego judges plans with Rego policies. It is the only package that
// imports OPA.
//
// It promises that policies see the input document and their own data and
// nothing else (no network, file, clock, randomness or environment: the built-in
// functions that they may call are a list of names); that every policy ends
// within a limit of time, memory and output; and that whatever cannot be judged
// is a deny that names the policy's file and line. Policies are compiled and
// prepared once; evaluation is safe for concurrent use and gives the same
// findings in the same order for the same policies and input.
//
// Each Evaluate first has a built-in rule, compiled beside the policies, deny an
// input that it must deny. If it does not, nothing was judged, and that is an error.
package rego
