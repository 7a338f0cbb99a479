// Package egress is the only way from a sandboxed engine to the network: an HTTP
// proxy that ends TLS with a certificate authority of its own, made for one run,
// and judges each request by the hosts that the step lists.
//
// It promises:
//
//   - A request leaves only for a listed host and port. Names are compared as
//     lower-case ASCII; a host that can be read in two ways (other spellings of an
//     address, percent-escapes, user information, non-ASCII) is refused, never
//     interpreted. Names with other letters are written as xn--….
//   - In flight-plan only GET and HEAD without a body. Of the header fields User-Agent,
//     Accept… go on in a fixed form, conditions and Range only small and of their own
//     syntax (else the request is refused), Authorization with few values in a run, and
//     no others. In take-off all methods and fields.
//   - The address that was judged is the one that is connected to; the name is not
//     looked up a second time. See Options.Private for addresses that are not public.
//   - One parser reads what the engine sends, accepts one spelling of it, and what
//     goes on is written anew: nothing is left over for a second reader to see
//     otherwise. The body is complete before the first byte leaves.
//   - Redirects are passed on, not followed; the engine's next request is judged
//     like every other.
//   - Every request is told to Options.Observe and kept in Requests, up to the
//     limit of their number, before the engine can see the end of the answer. A
//     Request has no user information, no header field and no body. Its URL is
//     complete, query included: redacting it is the caller's task.
//   - Nothing is taken from the proxy's own environment, and the private keys never
//     leave memory.
//
// What it cannot do: hide from a listed host what an engine puts into URLs. Their
// length and number are bounded, and they are policy input. Header fields carry at
// most what internal/limits says; Request.Sent counts them.
//
// Requests are read by the package's own loop around http.ReadRequest and not by
// http.Server, because the server mends before a handler can see it: it joins
// folded lines and drops Content-Length beside Transfer-Encoding.
package egress
