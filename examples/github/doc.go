// Package github holds the workflows that a repository on GitHub adds, as files to copy
// and, the same bytes, for `cabincrew init --for github` to write.
package github
