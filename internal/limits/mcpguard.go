package limits

import "time"

// Bounds of the guard of the MCP gateway.
const (
	// MCPGuardMessageBytes is the size of one message in either direction, unless the
	// configuration says otherwise, in bytes.
	MCPGuardMessageBytes = 16 << 20
	// MCPGuardForeignBytes is how much text that is no message a server may answer an
	// error with, in bytes.
	MCPGuardForeignBytes = 64 << 10
	// MCPGuardInFlight is how many requests of a client may wait for their answers in
	// one session, with those whose stream broke off and can be resumed.
	MCPGuardInFlight = 1024
	// MCPGuardFinished is how many answered requests of a session are remembered, so
	// that a resumed stream may tell their answers again.
	MCPGuardFinished = 64
	// MCPGuardServed is how many requests of a server may wait for the client's answer
	// in one session.
	MCPGuardServed = 256
	// MCPGuardTold is how many dropped messages of the server of one session are warned of.
	MCPGuardTold = 100
	// MCPGuardHeldSession is how many messages of one session may wait for a person.
	MCPGuardHeldSession = 32
	// MCPGuardHeldAll is how many messages of all sessions with a server may wait for
	// a person.
	MCPGuardHeldAll = 1024
	// MCPGuardHold is how long a message waits for a person, unless the configuration
	// says otherwise.
	MCPGuardHold = 15 * time.Minute
	// MCPGuardProgress is how often the client of a held call hears that it waits.
	MCPGuardProgress = 5 * time.Second
	// MCPGuardJudge is how long judging one message may take.
	MCPGuardJudge = 10 * time.Second
	// MCPGuardOwn is how long a server may take to answer the gateway itself.
	MCPGuardOwn = 30 * time.Second
	// MCPGuardPages is how many pages of a list the gateway follows by itself.
	MCPGuardPages = 64
	// MCPGuardEntries is how many tools, prompts or templates of one session are known.
	MCPGuardEntries = 4096
	// MCPGuardURI is the length of a URI, or of a template of URIs, that is compared with
	// others, in bytes, and MCPGuardTemplateParts how many parts a template may have.
	MCPGuardURI           = 2 << 10
	MCPGuardTemplateParts = 32
	// MCPGuardSets is how many sets of new or changed tools a person is asked about in
	// one session.
	MCPGuardSets = 64
	// MCPGuardRates is how many principals' rates are remembered for one server.
	MCPGuardRates = 4096
	// MCPGuardChanges is how many values of one message policies may rewrite.
	MCPGuardChanges = 1024
	// MCPGuardHidden is how many findings of secrets one exchange remembers apart, so that
	// they are not told; of more, nothing is told.
	MCPGuardHidden = 8
	// MCPGuardReason is the length of one line that tells a client or a person why,
	// in bytes.
	MCPGuardReason = 400
	// MCPGuardDiff is the length of a textual difference in a request for approval,
	// in bytes.
	MCPGuardDiff = 16 << 10
	// MCPGuardNamed is how many tools one line or one evaluation names.
	MCPGuardNamed = 16
)
