//go:build !race

package flight

// long is the length in bytes of a line that is too long.
const long = 100_000_000
