package limits

import "time"

// Bounds of several MCP servers behind one endpoint, for each session.
const (
	// MCPFanServers is how many servers one endpoint may have.
	MCPFanServers = 64
	// MCPFanName is the length of the name of a tool with its server's, in bytes: what
	// the protocol allows.
	MCPFanName = 128
	// MCPFanItems is how many tools, prompts or resources of one page of one server are
	// passed on.
	MCPFanItems = 10_000
	// MCPFanKnown is how many addresses of resources, tokens of progress, tasks and names
	// of one server are remembered, of each of these kinds.
	MCPFanKnown = 1 << 14
	// MCPFanKnownBytes is how long they may be together, in bytes.
	MCPFanKnownBytes = 2 << 20
	// MCPFanKept is how many requests are remembered whose streams the client left
	// before the answer, and may go on with.
	MCPFanKept = 256
	// MCPFanFlights is how many requests may wait for an answer.
	MCPFanFlights = 4096
	// MCPFanCursor is the length of a cursor of one server, in bytes.
	MCPFanCursor = 4 << 10
	// MCPFanEvent is the length of an id of an event of one server, in bytes.
	MCPFanEvent = 512
	// MCPFanMark is the length of a cursor or an event id of the gateway, in bytes.
	MCPFanMark = 64 << 10
	// MCPFanLoose is how many messages that servers send while a list is put together
	// wait for the stream that listens.
	MCPFanLoose = 256
	// MCPFanAcknowledge is how long all servers have to acknowledge a subscription.
	MCPFanAcknowledge = 5 * time.Second
	// MCPFanAgain is the first pause before a stream that broke is opened again; it
	// doubles each time.
	MCPFanAgain = time.Second
	// MCPFanAgainMost is the longest pause before a server that could not be opened is
	// tried again.
	MCPFanAgainMost = time.Minute
	// MCPFanList is how long all servers have to list their resources for the gateway.
	MCPFanList = 10 * time.Second
	// MCPFanGreet is how long servers have to answer initialize: a client does not wait
	// much longer for all of them together.
	MCPFanGreet = 45 * time.Second
	// MCPFanTries is how often a stream that broke is opened again without an event.
	MCPFanTries = 6
)
