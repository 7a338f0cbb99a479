package limits

import "time"

// Bounds on what an engine may produce. SPEC: docs/protocol.md 2.
const (
	Receipt       = 4 << 20          // bytes of a receipt
	EngineLog     = 64 << 20         // bytes of an engine's log; the rest is cut off and counted
	Artifacts     = 10_000           // artifacts of one step
	ArtifactBytes = 10 << 30         // bytes of all artifacts of one step
	ArtifactJSON  = 8 << 20          // bytes of one artifact.json
	EngineTimeout = 10 * time.Minute // default time-out of one engine run
	EngineGrace   = 5 * time.Second  // from SIGTERM to SIGKILL
	TakeOffGrace  = 35 * time.Second // the same in take-off: what applies must be able to write down how far it came
)
