package limits

// Bounds of a file that names code owners, and of looking paths up in it.
const (
	// OwnersBytes is the size of the file, in bytes; GitHub takes less than 3 MB.
	OwnersBytes = 3_000_000
	// OwnersRules is how many patterns it may have.
	OwnersRules = 100_000
	// OwnersPatternBytes is the length of one pattern, in bytes.
	OwnersPatternBytes = 4096
	// OwnersWords is how many owners one pattern may have.
	OwnersWords = 256
	// OwnersWordBytes is the length of one owner, in bytes.
	OwnersWordBytes = 256
	// OwnersSteps is how many names are compared while the paths of one change are looked
	// up; some seconds.
	OwnersSteps = 500_000_000
)
