package limits

import "time"

// Bounds and defaults of a gateway's configuration. Lengths of time that end in Text
// are written as the file would.
const (
	// GatewayServers is how many servers one gateway has in front of it.
	GatewayServers = 64
	// GatewayServerName is how many bytes the name of a server may have: it stands before
	// those of its tools, which may have 128 together.
	GatewayServerName = 32
	// GatewayListen is where a gateway listens unless it is told.
	GatewayListen = "127.0.0.1:3940"
	// GatewayHoldText is how long a call is held for an approval.
	GatewayHoldText = "10m"
	// GatewayHoldMax is how long it can be held at the most.
	GatewayHoldMax = 24 * time.Hour
	// GatewayCallText is how long a server may take for a call, and GatewayCallMax the most.
	GatewayCallText = "10m"
	GatewayCallMax  = 24 * time.Hour
	// GatewaySyncText is after how long at the most an audit event is on the disk.
	GatewaySyncText = "100ms"
	GatewaySyncMax  = 10 * time.Second
	// GatewayMessage is how many bytes a message may have, and GatewayMessageMax the most.
	GatewayMessage    = 4 << 20
	GatewayMessageMax = 64 << 20
	// GatewayRate is how many messages of one client may come in a minute for one server.
	GatewayRate    = 6_000
	GatewayRateMax = 10_000_000
	// GatewayConcurrent is how many calls of one client may be under way at a time.
	GatewayConcurrent    = 64
	GatewayConcurrentMax = 10_000
	// GatewaySessions is how many sessions there may be at a time.
	GatewaySessions    = 1_000
	GatewaySessionsMax = 100_000
	// GatewayIdleText is after how long without a word a session ends.
	GatewayIdleText = "30m"
	GatewayIdleMax  = 7 * 24 * time.Hour
)

// Bounds of the gateway's door for HTTP.
const (
	// GatewayHeaderTime is how long a client may take for the headers of a request.
	GatewayHeaderTime = 10 * time.Second
	// GatewayHeaderBytes is how many bytes they may have.
	GatewayHeaderBytes = 64 << 10
	// GatewayIdleConn is after how long an idle connection is closed.
	GatewayIdleConn = 2 * time.Minute
	// GatewayGrace is how long answers may take to go out when the gateway ends.
	GatewayGrace = 10 * time.Second
	// GatewayDrain is how long calls that are under way have for their answers when the
	// gateway is told to end.
	GatewayDrain = 2 * time.Second
)

// Bounds of looking at servers.
const (
	// GatewayInspect is how long it may take.
	GatewayInspect = 2 * time.Minute
	// GatewayInspectPages is how many pages one list may have.
	GatewayInspectPages = 1_000
)
