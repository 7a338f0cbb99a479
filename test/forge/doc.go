// Package forge holds the clients of forges against fakes of these forges, which
// compare every request and every answer with what the forge publishes of its API. It
// has no code of its own, only tests.
package forge
