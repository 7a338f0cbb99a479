//go:build !race

package secrets

// share is by what tests divide their work; see race_test.go.
const share = 1
