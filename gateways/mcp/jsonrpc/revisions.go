package jsonrpc

// Revision is a revision of the Model Context Protocol.
type Revision string

// The revisions.
const (
	Revision20241105 Revision = "2024-11-05"
	Revision20250326 Revision = "2025-03-26"
	Revision20250618 Revision = "2025-06-18"
	Revision20251125 Revision = "2025-11-25"
	Revision20260728 Revision = "2026-07-28"
)

// Revisions are all of them, the oldest first.
func Revisions() []Revision {
	return []Revision{Revision20241105, Revision20250326, Revision20250618, Revision20251125, Revision20260728}
}

// Known says whether r is a revision that the gateway knows.
func Known(r Revision) bool {
	switch r {
	case Revision20241105, Revision20250326, Revision20250618, Revision20251125, Revision20260728:
		return true
	}
	return false
}

// HasBatch says whether messages may come in lists: one revision brought that and the
// next took it away.
func HasBatch(r Revision) bool { return r == Revision20250326 }

// Stateless says that a revision has no initialize and no sessions: every request says
// its revision and who asks.
func Stateless(r Revision) bool { return r == Revision20260728 }

// HasSessions says whether streamable HTTP names sessions by Mcp-Session-Id. In the
// oldest revision, the address that a client posts to names them.
func HasSessions(r Revision) bool {
	return r == Revision20250326 || r == Revision20250618 || r == Revision20251125
}

// The members of _meta that the protocol defines.
const (
	MetaRevision           = "io.modelcontextprotocol/protocolVersion"
	MetaClientInfo         = "io.modelcontextprotocol/clientInfo"
	MetaServerInfo         = "io.modelcontextprotocol/serverInfo"
	MetaClientCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaLogLevel           = "io.modelcontextprotocol/logLevel"
	MetaSubscription       = "io.modelcontextprotocol/subscriptionId"
	MetaRelatedTask        = "io.modelcontextprotocol/related-task"
)
