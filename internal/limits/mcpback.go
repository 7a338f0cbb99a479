package limits

import "time"

// Bounds of the MCP gateway's connections to servers. A server is hostile: what it
// sends fills no memory and keeps nobody waiting for ever.
const (
	MCPBackErrorBytes   = 16 << 10 // bytes kept of an error's body that is no message
	MCPBackHeaderBytes  = 64 << 10 // bytes of an answer's header fields
	MCPBackSessionBytes = 1024     // bytes of a server's session id
	MCPBackEventIDBytes = 1024     // bytes of the id of an event
	MCPBackTypeBytes    = 128      // bytes of the type of an event
	MCPBackRetryDigits  = 8        // digits of an event's retry, in milliseconds: a day
	MCPBackStreamEvents = 1 << 20  // events in the answer to one request
	MCPBackStreamBytes  = 1 << 30  // bytes of the answer to one request, comments included

	// MCPBackLarge is from where on a message counts for MCPBackRoom, in bytes. That is the
	// memory of large messages of one server that are read or judged at one time: judging
	// takes several times as much. No fewer than one is read, however large messages may be.
	MCPBackLarge = 64 << 10
	MCPBackRoom  = 16 << 20
	// MCPBackLargeTime is how long a server may take from there to the end of a message, and
	// a second more for each MCPBackLargeRate bytes that it may have; then how long judging it may keep others waiting.
	MCPBackLargeTime = 30 * time.Second
	MCPBackLargeRate = 256 << 10

	MCPBackDialTime   = 10 * time.Second // until a connection stands, and until TLS does
	MCPBackAnswerTime = 10 * time.Minute // from a request to its whole answer, also where it is a stream; tools may be slow
	MCPBackQuietTime  = 10 * time.Minute // between two bytes of a stream that answers a request
	MCPBackEndTime    = 5 * time.Second  // for a server to take note that a session is over

	// MCPBackIdleTime: common servers close a connection that was idle for five seconds. One that the
	// server is about to close must not be used: a call is never sent twice.
	MCPBackIdleTime  = 4 * time.Second
	MCPBackWireBytes = 32 << 10 // bytes of a request that is written before its answer is read; a socket takes more at once
	MCPBackHints     = 5        // interim answers (HTTP 1xx) before one answer
	MCPBackIdleConns = 128      // idle connections to one server

	MCPBackLines       = 64               // lines that wait for a child to read them
	MCPBackNoise       = 20               // lines of one child that are no messages and are logged
	MCPBackNoiseLines  = 10000            // such lines of one child in a row; more end it
	MCPBackQueueEvents = 1024             // messages of a child that wait for one client
	MCPBackQueueBytes  = 32 << 20         // bytes of these; more are not read from the child
	MCPBackQueueTime   = 30 * time.Second // for a client to take one of these while the queue is full
	MCPBackStderrLine  = 4 << 10          // bytes of one logged line of stderr
	MCPBackStderrLines = 100              // lines of stderr logged in MCPBackStderrTime
	MCPBackStderrTime  = 1 * time.Second  // as above
	MCPBackChildren    = 64               // processes of one server at one time
	MCPBackGrace       = 5 * time.Second  // for a child to end after its stdin did, and after SIGTERM
	MCPBackPauseFirst  = 1 * time.Second  // between two starts of a child that ends at once
	MCPBackPauseMost   = 30 * time.Second
	MCPBackHealthy     = 10 * time.Second // a child that lived so long may be started again at once
	MCPBackRootEntries = 1_000_000        // files of a child's root that are looked through for names to keep
	MCPBackKept        = 256              // names in a child's roots that are held read-only
	MCPBackPauses      = 1024             // principals whose pauses are remembered
)
