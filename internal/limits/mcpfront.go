package limits

import "time"

// Bounds of the MCP gateway's door for clients.
const (
	// MCPFrontMessage is the size of one message or batch of a client, in bytes, unless
	// the configuration says otherwise.
	MCPFrontMessage = 16 << 20
	// MCPFrontHeld is how much memory the bodies of requests that are answered at the
	// same time take, and large events that are being written, in bytes; who comes after
	// that is told to come again, and a stream ends. MCPFrontHeldEach is a client's share.
	MCPFrontHeld     = 256 << 20
	MCPFrontHeldEach = MCPFrontHeld / 2
	// MCPFrontLarge is from where on an event counts for that, in bytes.
	MCPFrontLarge = 64 << 10
	// MCPFrontBodyTimeout is how long a client may take for the body of one request.
	MCPFrontBodyTimeout = 30 * time.Second
	// MCPFrontWriteTimeout is how long a client may take to read one event or answer,
	// and a second more for each MCPFrontWriteRate bytes of it.
	MCPFrontWriteTimeout = 30 * time.Second
	// MCPFrontWriteRate is how many bytes a client reads in a second at least.
	MCPFrontWriteRate = 64 << 10
	// MCPFrontHead is how long the head of a stream waits for the first event.
	MCPFrontHead = 20 * time.Millisecond
	// MCPFrontKeepAlive is after how long a comment is sent on a stream that is silent.
	MCPFrontKeepAlive = 25 * time.Second

	// MCPFrontSessions is how many sessions are open at the same time at one door.
	MCPFrontSessions = 4096
	// MCPFrontSessionsEach is how many of them belong to one client.
	MCPFrontSessionsEach = 2048
	// MCPFrontIdle is after how long without any request or open stream a session ends.
	MCPFrontIdle = time.Hour
	// MCPFrontBusy is how many requests and streams of one session are open at the same time.
	MCPFrontBusy = 256
	// MCPFrontBusyShared is the same for all requests of a client whose revision has no sessions.
	MCPFrontBusyShared = 2048
	// MCPFrontEnd is how long the end of a session may take at the server's side.
	MCPFrontEnd = 5 * time.Second
	// MCPFrontOver is how long those who are in a session that the server lost have to
	// take what was said before that.
	MCPFrontOver = 2 * time.Second
	// MCPFrontRetry is what a client that found everything taken is told to wait, in seconds.
	MCPFrontRetry = 5

	// MCPFrontSessionID is the length of a session's id in a header, in bytes.
	MCPFrontSessionID = 128
	// MCPFrontEventID is the length of an event's id, in bytes; longer ones are not kept.
	MCPFrontEventID = 1024
	// MCPFrontEventType is the length of an event's type, in bytes.
	MCPFrontEventType = 128
	// MCPFrontParams is how many Mcp-Param headers a request may have.
	MCPFrontParams = 64
	// MCPFrontHeader is the length of the value of one of the protocol's headers, in bytes.
	MCPFrontHeader = 8 << 10

	// MCPFrontGrace is how long requests that are not answered yet have when the client
	// on stdio closes its end.
	MCPFrontGrace = 5 * time.Second
	// MCPFrontResume is the shortest, MCPFrontResumeMax the longest time until the door
	// resumes a stream for a client that cannot do that itself.
	MCPFrontResume    = time.Second
	MCPFrontResumeMax = 30 * time.Second
	// MCPFrontResumes is how often in a row it does so without one new event.
	MCPFrontResumes = 5
)
