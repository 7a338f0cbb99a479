package limits

// Bounds of the built-in engines.
const (
	// EngineInputBytes is the size of the EngineInput that a built-in engine reads, in bytes.
	EngineInputBytes = 64 << 20
)
