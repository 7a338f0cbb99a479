package limits

// Bounds on the files of a flight, in bytes unless said otherwise.
const (
	FlightFile   = 1 << 20    // flight.json
	ManifestFile = 64 << 20   // plan-manifest.json: some 200 bytes a file
	PlanToken    = 8 << 20    // plan-token.json: some 150 bytes an artifact
	Preflight    = 64 << 20   // preflight.json
	Approval     = 8 << 20    // one approval request or response
	SmallFile    = 1 << 20    // isolation.json and the like
	FlightFiles  = 200_000    // files in a flight's directory
	ContextBody  = 64 << 10   // an earlier step's evidence body that is handed to a later step as text
	PatchBody    = PatchBytes // a patch artifact's body that is read for policies and composition
)

// AuditArtifacts is how many artifacts a plan-token may have to be copied whole
// into the audit event that tells of it; of a larger one the event has the hash.
const AuditArtifacts = 100

// Mark is the most bytes that a mark may hold: a path and how far a log had come, or the
// signed statement of a take-off as text.
const Mark = 256 << 10

// MarkStatement is the size in bytes of the signed statement that a mark holds. A larger
// one is left out, and then the mark proves nothing.
const MarkStatement = 128 << 10
