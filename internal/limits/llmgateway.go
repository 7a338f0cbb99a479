package limits

import "time"

// Bounds of the LLM gateway.
// SPEC: docs/protocol.md 10
const (
	// LLMBody is the size of a request, in bytes, unless the configuration says otherwise.
	LLMBody = 16 << 20
	// LLMAnswer is the size of an answer, in bytes, unless the configuration says otherwise.
	LLMAnswer = 16 << 20
	// LLMSmall is the size up to which bodies take no room from others, in bytes.
	LLMSmall = 64 << 10
	// LLMRoom is how much larger requests, and larger answers, may have at a time, in
	// bytes: what is made of them to be judged is several times as large.
	LLMRoom = 128 << 20
	// LLMRoomWait is how long a body waits for room.
	LLMRoomWait = 30 * time.Second
	// LLMStreams is how much all streams may hold, in bytes.
	LLMStreams = 512 << 20
	// LLMRead is how long a client may take for its body.
	LLMRead = time.Minute
	// LLMTexts is how many texts one body may have, names of members too.
	LLMTexts = 200_000
	// LLMMediaText is the size up to which data that is no text is searched as if it were
	// one, in bytes.
	LLMMediaText = 4096
	// LLMCalls is the size of the arguments of all tool calls of a stream, in bytes.
	LLMCalls = 4 << 20
	// LLMHeld is how much of a stream is held while something is decided, in bytes.
	LLMHeld = 16 << 20
	// LLMChunk is how much of a stream is read at once, in bytes.
	LLMChunk = 4 << 10
	// LLMTotal is how long a call may take, with all attempts, unless the configuration
	// says otherwise.
	LLMTotal = 10 * time.Minute
	// LLMConcurrent is how many calls may be under way, unless the configuration says
	// otherwise.
	LLMConcurrent = 2048
	// LLMWindow is how much of a lane judges that read meaning get at once, in bytes,
	// beside half as much of what was before.
	LLMWindow = 1024
	// LLMWord is how often a client that waits for a person hears of it.
	LLMWord = 10 * time.Second
	// LLMWrite is how long a client may take to read what it was sent.
	LLMWrite = 30 * time.Second
)
