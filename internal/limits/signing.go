package limits

const (
	// KeyFileBytes is the most bytes that a private or public key file may have.
	// The largest that is accepted, an encrypted P-256 key, has about 700.
	KeyFileBytes = 16 << 10

	// StatementBytes is the most bytes that a signed statement may have. A flight
	// plan holds the whole preimage of each token: about 200 bytes an artifact,
	// so this leaves room for the 10,000 artifacts of a flight several times over.
	StatementBytes = 16 << 20

	// BundleBytes is the most bytes that a Sigstore bundle may have: a statement
	// of StatementBytes in base64, and 64 KiB for what is around it.
	BundleBytes = (StatementBytes+2)/3*4 + 64<<10

	// SignatureBytes is the most bytes that a signature may have. An ECDSA P-256
	// signature has at most 72, an ed25519 signature 64.
	SignatureBytes = 72

	// TrustedKeys is the most keys that one verification may be given.
	TrustedKeys = 10_000
)
