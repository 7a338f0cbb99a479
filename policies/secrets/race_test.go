//go:build race

package secrets

// share is by what tests divide their work: the race detector makes it ten times slower.
const share = 8
