package limits

import "time"

// Bounds of the built-in engine git.
const (
	// GitChanges is how many files one commit may change.
	GitChanges = 20_000
	// GitObjects is how many objects a bundle may hold.
	GitObjects = 200_000
	// GitBundleBytes is the size of a bundle, or of the parent's part beside it, in bytes.
	GitBundleBytes = 512 << 20
	// GitObjectBytes is the size of one object after inflating, in bytes; as PatchFileBytes.
	GitObjectBytes = 128 << 20
	// GitContentBytes is the size of all objects of one bundle after inflating, in bytes.
	GitContentBytes = 1 << 30
	// GitBundleHeaderBytes is the size of the lines before a bundle's pack, in bytes.
	GitBundleHeaderBytes = 4096
	// GitTreeDepth is how many directories may lie within each other.
	GitTreeDepth = 512
	// GitTags is the most tags of one prefix that are read.
	GitTags = 100_000

	// GitHistory is the number of commits that are looked at to find an ancestor.
	GitHistory = 1_000_000
	// GitCommitBytes is the size of a commit object, in bytes.
	GitCommitBytes = 1 << 20
	// GitMessageBytes is the length of a commit message, in bytes.
	GitMessageBytes = 64 << 10
	// GitIdentityBytes is the length of a name or mail address in a commit, in bytes.
	GitIdentityBytes = 256
	// GitTrailers is how many trailers a commit message may have.
	GitTrailers = 64
	// GitBranchBytes is the length of a branch's name, in bytes.
	GitBranchBytes = 240
	// GitRemoteURLBytes is the length of a remote's address, in bytes.
	GitRemoteURLBytes = 2048
	// GitKnownHostsBytes is the size of the known hosts of a step, in bytes.
	GitKnownHostsBytes = 64 << 10
	// GitAttributesBytes is the size of one .gitattributes file, in bytes.
	GitAttributesBytes = 1 << 20
	// GitAttributesLines is how many lines all .gitattributes files of one commit may have.
	GitAttributesLines = 100_000
	// GitAlternates is how many object directories a repository may borrow from.
	GitAlternates = 32
	// GitAdvertisementBytes is the size of a remote's list of references, in bytes.
	GitAdvertisementBytes = 128 << 20
	// GitReportBytes is the size of a remote's answer to a push, in bytes.
	GitReportBytes = 4 << 20
	// GitRemoteTextBytes is how much text of a remote goes into the log, in bytes.
	GitRemoteTextBytes = 16 << 10
	// GitConnectTimeout is how long a connection may take to stand.
	GitConnectTimeout = 30 * time.Second
	// GitPushTimeout is how long one push may take, looking at the remote included.
	GitPushTimeout = 8 * time.Minute
)
