//go:build race

package flight

// long is the length in bytes of a line that is too long: the race detector makes the
// search of 100 MB take minutes, and the bound is at 1 MiB.
const long = 20_000_000
