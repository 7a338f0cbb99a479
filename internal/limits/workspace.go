package limits

// Bounds of reading a workspace.
const (
	// WorkspaceFiles is how many files a workspace may have selected.
	WorkspaceFiles = 1_000_000
	// WorkspaceEntries is how many directory entries of any kind a walk visits.
	WorkspaceEntries = 4_000_000
	// WorkspaceDepth is how many directories deep a workspace may be.
	WorkspaceDepth = 128
	// WorkspaceWorkers is the largest number of files that are hashed at once.
	WorkspaceWorkers = 64
	// StatCacheBytes is the size of the file that remembers digests, in bytes.
	StatCacheBytes = 1 << 30
	// PathBytes is the length of a path relative to the workspace, in bytes.
	PathBytes = 4096

	// IgnoreFileBytes is the size of one .gitignore file, in bytes.
	IgnoreFileBytes = 1 << 20
	// IgnorePatternBytes is the length of one line of a .gitignore file, in bytes.
	IgnorePatternBytes = 4096
	// IgnorePatterns is how many patterns all .gitignore files of a tree may have together.
	IgnorePatterns = 50_000

	// InputPatterns is how many globs the inputs of a step may have.
	InputPatterns = 1000
	// InputPatternBytes is the length of one glob, in bytes.
	InputPatternBytes = 1024
	// InputAlternatives is how many patterns the braces of one glob may stand for.
	InputAlternatives = 256

	// GitIndexBytes is the size of a git index, in bytes.
	GitIndexBytes = 512 << 20
	// GitFileBytes is the size of a small file of a git directory (.git, HEAD, a ref, a configuration), in bytes.
	GitFileBytes = 1 << 20
	// GitPackedRefsBytes is the size of a packed-refs file, in bytes.
	GitPackedRefsBytes = 64 << 20
	// GitSymrefs is how many symbolic references are followed from HEAD.
	GitSymrefs = 5
	// GitIncludes is how many files a git configuration may include, all levels together.
	GitIncludes = 32
)
