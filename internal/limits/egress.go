package limits

import "time"

// Bounds of the proxy through which a sandboxed engine reaches the network. The
// engine and the hosts it speaks to are both hostile. What leaves the machine in
// flight-plan is at most EgressRequests times EgressURLBytes, which are recorded, and
// EgressConditionsBytes; and EgressCredentials times EgressCredentialBytes.
const (
	EgressURLBytes        = 4096 // bytes of one URL; signed download links have up to 2,000
	EgressRequests        = 1000 // requests of one engine run, refused ones included
	EgressHeaderBytes     = 16 << 10
	EgressConditionBytes  = 200     // bytes of one If-… or Range in flight-plan
	EgressConditionsBytes = 600     // bytes of all of them in one request
	EgressCredentialBytes = 4 << 10 // bytes of one Authorization in flight-plan; signed tokens have up to 3,000
	EgressCredentials     = 8       // different values of Authorization in one run of flight-plan
	EgressAccepts         = 8       // media types that one request of flight-plan can ask for
	EgressConnections     = 64      // connections of the engine at one time

	EgressBodyBytes     = 64 << 20  // bytes of one request's body, which is held in memory
	EgressBufferBytes   = 256 << 20 // bytes of all such bodies at one time
	EgressResponseBytes = 1 << 30   // bytes of one response's body, which is streamed
	EgressTunnelBytes   = 1 << 30   // bytes through one opaque tunnel, each way

	EgressRequestTime = 5 * time.Minute  // from a request's head to the end of its response
	EgressTunnelTime  = 30 * time.Minute // life of an opaque tunnel
	EgressHeadTime    = 15 * time.Second // for a whole head of a request, or a TLS handshake
	EgressIdleTime    = time.Minute      // between two requests of a connection
	EgressDialTime    = 10 * time.Second // for one look-up, or one attempt to connect
	EgressLingerTime  = time.Second      // for a refused client to stop sending

	EgressAnswerHeader = 256 << 10      // bytes of a response's header fields
	EgressAddresses    = 16             // addresses of one host that are judged; more are refused
	EgressLeaves       = 256            // certificates that are kept for the next connection
	EgressRedirects    = 256            // hosts seen in Location that a refusal can name
	EgressMethodBytes  = 32             // bytes of a request's method
	EgressLingerBytes  = 1 << 20        // bytes of a refused body that are read and dropped
	EgressLife         = 25 * time.Hour // life of the certificate authority of one run
)
