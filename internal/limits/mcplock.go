package limits

// Bounds of pinned tools, prompts and templates, and of the file that records them. Both
// are hostile: servers write the one, whoever proposes a change the other.
const (
	// MCPLockBytes is the size of a lock file, in bytes.
	MCPLockBytes = 32 << 20
	// MCPLockServers is how many servers it may name.
	MCPLockServers = 256
	// MCPPinItems is how many items of one kind a server may have.
	MCPPinItems = 10_000
	// MCPPinName is the length of a name or of the template of a URI, in bytes.
	MCPPinName = 1024
	// MCPPinForm is the size of an item that is recorded in full, so that a difference
	// can be shown, in bytes; of larger ones the digest alone is recorded.
	MCPPinForm = 64 << 10
	// MCPPinDepth is how deep an item may be nested to be recorded in full.
	MCPPinDepth = 48
	// MCPDiffLines is how many lines of two items are compared one by one.
	MCPDiffLines = 1000
	// MCPDiffText is how much text of one item is made for a comparison, in bytes.
	MCPDiffText = 1 << 20
	// MCPDiffs is how many differences are made for one list.
	MCPDiffs = 50
	// MCPDiffBytes is how much of a difference is shown, in bytes.
	MCPDiffBytes = 32 << 10
	// MCPSuspicions is how many places of one item are told as suspicious.
	MCPSuspicions = 20
	// MCPPinKnown is how much of what was read is remembered so that it need not be read
	// again, in bytes as it came, for all servers.
	MCPPinKnown = 8 << 20
	// MCPPinFirst is how much of what a server said first is remembered in full, in bytes
	// for each kind; of more, the digests.
	MCPPinFirst = 4 << 20
)
