// Package limits holds every upper bound that this program sets on what it
// reads and runs: sizes, counts, depths and times, each a constant with its unit
// and its reason. It promises to import nothing and to hold no logic, so that
// one place answers how large anything hostile can become.
package limits
