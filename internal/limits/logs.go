package limits

// Bounds of the two logs of a flight and of its directory.
const (
	// AuditLine is the longest line of audit.jsonl in bytes, without its
	// newline. An event may list all artifacts of a step (10,000 by default),
	// each with name, path and hash.
	AuditLine = 16 << 20

	// AuditProofLines is how many lines a log may have for a proof to be made, which
	// holds about 200 bytes for each.
	AuditProofLines = 1 << 20
	// AuditCheckpoint and AuditOrigin are the sizes in bytes of a signed checkpoint
	// and of the name of its log.
	AuditCheckpoint = 16 << 10
	AuditOrigin     = 512
	// AuditProof is the most bytes that a proof that is read may have: a line in
	// base64, a checkpoint, and a path of 64 hashes.
	AuditProof = AuditLine/3*4 + 64<<10

	// AuditWindow is how many lines before and after the first bad one
	// "audit verify" looks at to tell missing, inserted and reordered apart.
	AuditWindow = 4096

	// AuditRefs is the largest number of references from audit events to WAL
	// entries that are collected; it is never below WALEntries.
	AuditRefs = 2 * WALEntries

	// WALLine is the longest line of wal.jsonl in bytes, without its newline.
	// workflow_completed names all artifacts of a flight.
	WALLine = 16 << 20

	// WALFile is the largest wal.jsonl in bytes.
	WALFile = 512 << 20

	// WALEntries is the largest number of entries in one WAL.
	WALEntries = 1_000_000

	// Flights is the largest number of flights that one state directory lists.
	Flights = 100_000

	// FlightDepth is how deep directories of a flight may be nested.
	FlightDepth = 32

	// FlightPath is the longest path inside a flight, in bytes.
	FlightPath = 1024
)
