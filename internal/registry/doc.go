// Package registry is what the clients of OCI registries share: who may be asked,
// as whom, and where a registry may send us.
//
// It promises that plain http goes to a registry on the loopback interface only;
// that redirects, upload locations and token services at private, local or
// metadata addresses are refused unless they are listed, by URL and again when a
// connection is made; that no proxy is taken from the environment; and that no
// credential helper is run, which is foreign code.
package registry
