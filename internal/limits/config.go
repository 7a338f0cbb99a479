package limits

import "time"

// Bounds of the configuration file (.cabincrew.yaml). The file of a change is
// written by whoever proposes the change, so it is read as hostile input.
const (
	ConfigBytes    = 256 << 10 // bytes of the whole file
	ConfigDepth    = 32        // levels of nesting; the canonical form allows 64 around it
	ConfigNodes    = 20_000    // YAML nodes: scalars, lists and maps together
	ConfigProblems = 50        // problems reported at once
	ConfigQuote    = 80        // bytes of the file's text that one message repeats

	ConfigSteps     = 256      // steps of one workflow
	ConfigList      = 256      // elements of one list, entries of one env or secrets map
	ConfigText      = 256      // bytes of a name, role, target, model or host
	ConfigPath      = 1024     // bytes of a path or glob
	ConfigArgument  = 8192     // bytes of one element of an argument list or one environment value
	ConfigKeyFile   = 64 << 10 // bytes of an approver's public key file
	ConfigGlobStars = 5        // `**` in one glob; matching backtracks at each
	ConfigGlobAlts  = 4        // `{` in one glob; alternatives multiply
)

// Bounds of what a configuration may set.
const (
	StepTimeoutMax     = 24 * time.Hour       // the longest timeout of a step
	ApprovalExpireMax  = 365 * 24 * time.Hour // the longest life of an approval request
	ReceiptBytesMax    = 64 << 20             // bytes of a receipt
	LogBytesMax        = 1 << 30              // bytes of a step's log
	ArtifactsMax       = 100_000              // artifacts of one step
	ArtifactBytesMax   = 1 << 40              // bytes of all artifacts of one step
	RetentionDaysMax   = 36_500               // days that a closed flight is kept
	RetentionFlightMax = 1_000_000            // closed flights that are kept
	BreakGlassMax      = 24 * time.Hour       // the longest time for which the glass stays broken
	ApprovalCount      = 20                   // people that one role may ask for
	PolicyTimeMax      = 10 * time.Minute     // the longest time of one policy
)

// Defaults of a configuration; those of sizes and counts are the bounds of engines.
const (
	StepTimeoutText    = "10m" // EngineTimeout as the file would write it
	ApprovalExpireText = "72h" // life of an approval request
	RetentionDays      = 90    // days that a closed flight is kept
	RetentionFlights   = 100   // closed flights that are kept
	PolicyTimeText     = "10s" // PolicyTime as the file would write it
	ModelTimeoutText   = "30s" // OnnxTime as the file would write it
)

// SecretFile is the most bytes that a file with a secret may have.
const SecretFile = 64 << 10
