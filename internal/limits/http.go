package limits

import "time"

// Bounds of the built-in engine http.
const (
	// HTTPRequests is how many requests one step may declare.
	HTTPRequests = 256
	// HTTPURLBytes is the length of one URL, in bytes.
	HTTPURLBytes = 8192
	// HTTPHeaders is how many header fields one request may have.
	HTTPHeaders = 64
	// HTTPHeaderName is the length of the name of a header field, in bytes.
	HTTPHeaderName = 128
	// HTTPHeaderValue is the length of the value of a header field, in bytes, with
	// the secret that is filled in.
	HTTPHeaderValue = 16 << 10
	// HTTPStatuses is how many status codes one request may expect.
	HTTPStatuses = 64
	// HTTPBodyBytes is the size of the body of one request, in bytes.
	HTTPBodyBytes = 16 << 20
	// HTTPBodiesBytes is the size of the bodies of all requests of a step, in bytes.
	HTTPBodiesBytes = 64 << 20
	// HTTPResponseHeader is the size of the header of a response, in bytes.
	HTTPResponseHeader = 64 << 10
	// HTTPResponseBytes is how much of the body of a response is read, in bytes; of
	// a longer one the beginning counts.
	HTTPResponseBytes = 64 << 20
	// HTTPCertificates is the size of the file of certificate authorities, in bytes.
	HTTPCertificates = 4 << 20
	// HTTPTimeout is how long one request may take, unless its step says otherwise.
	HTTPTimeout = 30 * time.Second
	// HTTPTimeoutText is HTTPTimeout as a configuration would write it.
	HTTPTimeoutText = "30s"
	// HTTPTimeoutMax is the longest time that a step may give to one request.
	HTTPTimeoutMax = 10 * time.Minute
	// HTTPMessageBytes is the length of the summary's title, in bytes.
	HTTPMessageBytes = 200
)
