package limits

import "time"

// Bounds of engine check.
const (
	// CheckTimeout is how long one run of the engine may take by default.
	CheckTimeout = time.Minute
	// CheckHugeConfig is the size of the configuration that an engine must refuse, in bytes.
	CheckHugeConfig = 8 << 20
	// CheckSearch is how many bytes of one evidence file are searched for the time.
	CheckSearch = 16 << 20
	// CheckSpan is how many seconds of a run the search looks for.
	CheckSpan = 120
	// CheckFlips is how many artifacts are changed one by one.
	CheckFlips = 32
	// CheckShared is the size of a workspace that is copied into shared memory, in
	// bytes, where another directory order cannot be had on disk.
	CheckShared = 32 << 20
	// CheckLogTail is how much of the engine's log a failure shows, in bytes.
	CheckLogTail = 300
	// CheckConfigFile is the size of a file with settings for the engine, in bytes.
	CheckConfigFile = 16 << 20
)
