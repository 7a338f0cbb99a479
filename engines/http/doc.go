// Package http is the built-in engine that sends declared HTTP requests.
//
// In flight-plan it touches no network. Each request becomes one evidence artifact
// of type "http-request", named NNN-NAME in the order of sending: its action is
// the method, its target the URL, its body file the exact bytes of the body, its
// metadata everything else (headers, expected statuses, time-out, names of
// secrets). An artifact "summary" lists them. In take-off the planned artifacts are
// sent, one after the other, each once; nothing is worked out again.
//
// Its configuration is "requests", a list, and beside that "values" (a map for the
// templates), "timeout" (of one request, by default 30s) and "message" (the title
// of the summary). Each request has
//
//	name              lower-case letters, digits, - and _
//	method, url       upper case; http or https, no user, no fragment
//	headers           a map of texts; User-Agent has a default
//	secrets           a map of headers, each the name of a secret of the step, or
//	                  {secret: NAME, format: "Bearer {{secret}}"}
//	body              the text of the body, or
//	body_template     a template of it, or
//	body_file         the path of a file of the workspace that holds it
//	expect            {status: [200, "2xx"]}; by default any 2xx
//	idempotency_key   true adds a header Idempotency-Key in take-off, which is the
//	                  same whenever the same flight sends the same request
//
// A template is one of Go's text/template, of which only a part is allowed: its
// dot is the values; a key that is not there is an error; the functions are and,
// or, not, eq, ne, lt, le, gt, ge, len and slice of text/template, and base64,
// has, indent, index, join, json, lower, replace, split, trim, upper and urlquery;
// no template calls another.
//
// It promises that the evidence is a function of the workspace and the
// configuration and holds secrets by name only; that a plan which is not exactly
// what the configuration declares is not sent; that no request is sent twice,
// redirects are not followed, and nothing is sent after the first failure; that a
// request whose fate is unknown is called so and left to a person; and that
// responses are recorded by status, size and digest, never by what they say.
//
// Requests go through the proxy that HTTP_PROXY and HTTPS_PROXY name, for every
// host; NO_PROXY is not looked at. Where SSL_CERT_FILE is set, only the
// authorities in it count.
package http
