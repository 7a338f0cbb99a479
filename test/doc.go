// Package test holds the tests of the whole: the layers of the house, and runs
// of the program from outside. It exports nothing.
package test
