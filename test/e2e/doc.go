// Package e2e holds the tests in which programs of others judge what this one
// signs: cosign, the sigstore client of npm, a real Fulcio and a real time stamping
// authority, jq and sha256sum; and those that run our workflows under act, with the
// program or with a recorder in its place, and have actionlint and action-validator
// read them. `make e2e` builds them and runs the tests; they have the build tag e2e,
// since `go test ./...` needs nothing but Go.
//
// Everything runs on loopback, in a network namespace of its own where the machine
// gives one. It exports nothing.
package e2e
