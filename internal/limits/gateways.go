package limits

import "time"

// Bounds of what the gateways share: the trail of audit events and held calls.
const (
	// GatewayTrailSync is how long an event that need not be on the disk at once may stay
	// off it.
	GatewayTrailSync = 100 * time.Millisecond
	// GatewayTrailWaiting is how many callers may wait for their events to be written;
	// more wait for that.
	GatewayTrailWaiting = 1024
	// GatewayTrailFile and GatewayTrailEvents are the size in bytes and the number of
	// events after which a trail goes on in a new file.
	GatewayTrailFile   = 256 << 20
	GatewayTrailEvents = 500_000
	// GatewayTrailFiles is how many files one run may have.
	GatewayTrailFiles = 9_999
	// GatewayCheckpoint is how often a checkpoint of the trail is handed out.
	GatewayCheckpoint = 60 * time.Second
	// GatewayCheckpointWait is how long handing one out may take.
	GatewayCheckpointWait = 30 * time.Second
	// GatewayTally is how long refusals that anybody can cause are counted before one
	// event says how many there were, and GatewayTallies how many kinds of them (of a
	// client, at a server, for a reason) are counted apart.
	GatewayTally   = 30 * time.Second
	GatewayTallies = 4096
	// GatewayRunRecord is the size in bytes of the record of a run.
	GatewayRunRecord = 4 << 10
	// GatewayRuns is how many runs of a gateway are listed.
	GatewayRuns = 100_000

	// GatewayHold is how long a call waits for a person.
	GatewayHold = 10 * time.Minute
	// GatewayHoldPoll is how often a held call looks for its answer.
	GatewayHoldPoll = 250 * time.Millisecond
	// GatewayHeld is how many calls a gateway holds at once, and GatewayHeldEach how many
	// of one principal.
	GatewayHeld     = 256
	GatewayHeldEach = 32
	// GatewayHeldPayload is the size in bytes of the largest call that is held: a person
	// is to read it.
	GatewayHeldPayload = 1 << 20
	// GatewayHeldRequest and GatewayHeldState are the sizes in bytes of the documents of
	// a held call.
	GatewayHeldRequest = 4 << 20
	GatewayHeldState   = 64 << 10
	// GatewayHeldFiles is how many files the directory of held calls may have to be read.
	GatewayHeldFiles = 100_000
	// GatewayHeldKeep is how long what was answered stays.
	GatewayHeldKeep = 7 * 24 * time.Hour
)
