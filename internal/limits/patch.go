package limits

// Bounds of patches, made and read.
const (
	// PatchBytes is the size of one patch, in bytes.
	PatchBytes = 256 << 20
	// PatchFiles is how many changes one patch may have.
	PatchFiles = 100_000
	// PatchHunks is how many hunks one patch may have, all files together.
	PatchHunks = 1_000_000
	// PatchLines is how many lines the hunks of one patch may have, all files together.
	PatchLines = 5_000_000
	// PatchFileBytes is the size of one file before or after a change of its content, in bytes.
	PatchFileBytes = 128 << 20
	// PatchInflatedBytes is the size of all binary content of one patch after inflating, in bytes.
	PatchInflatedBytes = 4 << 30
	// PatchTextBytes is the size, in bytes, above which a changed file is written as binary.
	PatchTextBytes = 16 << 20
	// PatchContext is how many unchanged lines surround a change in a hunk.
	PatchContext = 3
	// PathElementBytes is the length of one element of a path, in bytes.
	PathElementBytes = 255
	// LinkBytes is the length of a symbolic link's target, in bytes.
	LinkBytes = 4096
)
