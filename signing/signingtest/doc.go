// Package signingtest is an authority for tests: a Fulcio, a time stamping
// authority and a log of Rekor v2 in memory, with the trusted_root.json that names
// them. Its keys are drawn anew each time; its clock stands where the test puts it.
package signingtest
