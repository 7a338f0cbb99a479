package limits

// Bounds of the messages of the Model Context Protocol, whichever side sends them.
const (
	// MCPMessageBytes is the size of one message, or of one batch, in bytes, where the
	// configuration names no other.
	MCPMessageBytes = 4 << 20
	// MCPBatch is how many messages one batch may have.
	MCPBatch = 100
	// MCPIDBytes is the length of the id of a request as JSON text, in bytes.
	MCPIDBytes = 256
	// MCPMethodBytes is the length of the name of a method, in bytes.
	MCPMethodBytes = 128
	// MCPKeys is how many members one object of a message may have.
	MCPKeys = 1 << 16
	// MCPKeyBytes is the length of the name of one member, with its escapes, in bytes.
	MCPKeyBytes = 64 << 10
	// MCPNumberBytes is the length of one number, in bytes. Other parsers refuse or
	// round far shorter ones.
	MCPNumberBytes = 1024
	// MCPKeptBytes is how much of the memory that a scan needed is kept for the next
	// one, in bytes.
	MCPKeptBytes = 64 << 10
)
