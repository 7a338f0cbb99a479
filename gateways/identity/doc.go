// Package identity says who a client of a gateway is, and whether its request may come
// in at all: hosts and origins, bearer tokens, OIDC tokens, client certificates.
//
// It promises that a request which it cannot tell is refused, and that no token is
// logged or sent on.
package identity
