package limits

import "time"

const (
	// KeyFileBytes is the most bytes that a private or public key file may have.
	// The largest that is accepted, an encrypted P-256 key, has about 700.
	KeyFileBytes = 16 << 10

	// StatementBytes is the most bytes that a signed statement may have. A flight
	// plan holds the whole preimage of each token: about 200 bytes an artifact,
	// so this leaves room for the 10,000 artifacts of a flight several times over.
	StatementBytes = 16 << 20

	// BundleBytes is the most bytes that a Sigstore bundle may have: a statement
	// of StatementBytes in base64, and 256 KiB for what is around it.
	BundleBytes = (StatementBytes+2)/3*4 + 256<<10

	// SignatureBytes is the most bytes that a signature may have. An ECDSA P-256
	// signature has at most 72, an ed25519 signature 64.
	SignatureBytes = 72

	// CarriedPlan is the size in bytes of an earlier plan that is kept beside an approval:
	// its bundle and its manifest.
	CarriedPlan = BundleBytes + ManifestFile + 1<<10
	// ApprovalWitnesses is the most acts on a forge that one approval may tell of.
	ApprovalWitnesses = 100

	// TrustedKeys is the most keys that one verification may be given.
	TrustedKeys = 10_000

	// CertificateBytes is the most bytes that one certificate may have. One of
	// Fulcio with all facts about a workflow has about 2 KiB.
	CertificateBytes = 16 << 10

	// CertificateFactBytes is the most bytes that one fact of a certificate, such
	// as the URI of a workflow, may have.
	CertificateFactBytes = 2 << 10

	// BundleTimestamps is the most RFC 3161 time stamps that a bundle may have.
	BundleTimestamps = 4

	// TimestampBytes is the most bytes that one RFC 3161 time stamp may have. It
	// has about 5 KiB when it holds the chain of its authority.
	TimestampBytes = 16 << 10

	// BundleLogEntries is the most entries of transparency logs in a bundle.
	BundleLogEntries = 4

	// LogEntryBytes is the most bytes of one value of such an entry: the body of
	// an entry about a whole in-toto statement's hash has about 4 KiB.
	LogEntryBytes = 64 << 10

	// LogProofHashes is the most hashes of a proof of inclusion: a tree of 2^63
	// leaves has no longer path.
	LogProofHashes = 64

	// TrustedRootBytes is the most bytes that a trusted_root.json may have. That
	// of the public good instance has about 7 KiB.
	TrustedRootBytes = 1 << 20

	// TrustedRootEntries is the most authorities or logs of one kind in it.
	TrustedRootEntries = 64

	// TrustedRootChain is the most certificates of one chain in it.
	TrustedRootChain = 8

	// TrustedIdentities is the most identities that one verification may be given.
	TrustedIdentities = 1_000

	// IdentityValues is the most events or digests that one identity may list.
	IdentityValues = 1_000

	// IdentityTokenBytes is the most bytes that an identity token may have.
	IdentityTokenBytes = 32 << 10

	// SignerResponseBytes is the most bytes of an answer of Fulcio, of a time
	// stamping authority, of a log or of an issuer of tokens.
	SignerResponseBytes = 256 << 10

	// SignerTimeout is how long all requests of one signature together may take.
	SignerTimeout = 60 * time.Second
)
