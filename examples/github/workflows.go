package github

import _ "embed"

//go:embed cabincrew.yml
var changes string

//go:embed cabincrew-base.yml
var base string

// Changes is the workflow that plans pull requests.
func Changes() string { return changes }

// Base is the workflow that needs the rights of the base: it takes off, and judges the
// pull requests of forks.
func Base() string { return base }
