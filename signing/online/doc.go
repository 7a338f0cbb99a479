// Package online signs with the help of services: Fulcio for a certificate about
// the identity of a CI job, time stamping authorities (RFC 3161), and Rekor v2.
//
// What it promises:
//
//   - No service is used that was not named. The public instances, which publish
//     what is signed for good, are used only where that is said (Services.Public).
//   - Environment and network are given by the caller; nothing is read from the
//     process. Without a Transport no proxy is used. Redirects are not followed;
//     answers and times are bounded.
//   - Identity tokens are in no error and no text of this package, not even where
//     a service sends them back.
//   - A bundle is given back only whole: a service that cannot be reached is an
//     error with exit 7. Where a trusted root is given, the new bundle has been
//     verified against it.
//
// SPEC: docs/protocol.md 7
package online
