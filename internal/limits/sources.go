package limits

import "time"

// Bounds on policy sets that come from elsewhere than a directory. What comes is
// hostile until its signature or digest holds; then the bounds of any policy set
// hold as well.
const (
	// PolicyBundleBytes is the size in bytes of a bundle as it is stored or fetched.
	PolicyBundleBytes = 32 << 20
	// PolicyBundleContent is the size in bytes of all files of a bundle, with the archive's headers.
	PolicyBundleContent = 64 << 20
	// PolicyBundleRatio is how many times larger than the bundle its content may be; Rego
	// and JSON shrink to a tenth, what a bomb is made of to a thousandth.
	PolicyBundleRatio = 200
	// PolicyBundleRatioFree is the size in bytes of content of which the ratio is not asked.
	PolicyBundleRatioFree = 1 << 20
	// PolicyBundleEntries is the number of entries of a bundle's archive.
	PolicyBundleEntries = 10_000
	// PolicyBundlePath is the length in bytes of a path in a bundle or artifact.
	PolicyBundlePath = 1024
	// PolicyBundleKey is the size in bytes of a public key file.
	PolicyBundleKey = 64 << 10
	// PolicyBundleRSABits is the least length in bits of an RSA key that counts.
	PolicyBundleRSABits = 2048

	// SourceArtifactLayers is the number of layers of an artifact with policies.
	SourceArtifactLayers = PolicyFiles
)

// Bounds on policy sets in git repositories.
const (
	// SourceGitRefs is the size in bytes of a remote's list of references.
	SourceGitRefs = 32 << 20
	// SourceGitPack is the size in bytes of what a remote sends for one commit.
	SourceGitPack = 64 << 20
	// SourceGitObjects is the number of objects of one commit.
	SourceGitObjects = 200_000
	// SourceGitContent is the size in bytes of all objects of one fetched commit, inflated.
	SourceGitContent = 256 << 20
	// SourceGitObject is the size in bytes of a commit, tag or tree.
	SourceGitObject = 16 << 20
	// SourceGitTags is how many tags may name each other before a commit.
	SourceGitTags = 5
	// SourceGitFile is the size in bytes of a small file of a git directory, such as its configuration.
	SourceGitFile = 1 << 20
	// SourceGitAlternates is how many object directories a repository may borrow from.
	SourceGitAlternates = 32
	// SourceGitRedirects is how many redirects on the same host are followed.
	SourceGitRedirects = 3
	// SourceGitText is how much of a remote's text goes into an error, in bytes.
	SourceGitText = 300
	// SourceGitConnect is how long a connection may take to stand.
	SourceGitConnect = 30 * time.Second
	// SourceGitFetch is how long fetching one commit may take.
	SourceGitFetch = 2 * time.Minute
)
