//go:build !amd64

package main

func i386() error { return skip("not amd64") }

func x32() error { return skip("not amd64") }

func here() map[string]func() error { return nil }

func settersHere() map[string]setter { return nil }
