package signing

// Error codes of this package. They are stable: docs/errors.md.
const (
	// CodeKeyMalformed: a key file does not hold a key of an accepted kind.
	CodeKeyMalformed = "key_malformed"
	// CodeKeyPassphrase: a private key's passphrase is missing, empty or wrong.
	CodeKeyPassphrase = "key_passphrase"
	// CodeKeyGenerate: no key could be made.
	CodeKeyGenerate = "key_generate"
	// CodeSignFailed: a statement could not be signed.
	CodeSignFailed = "sign_failed"
	// CodeBundleMalformed: a bundle is not in the one accepted form.
	CodeBundleMalformed = "bundle_malformed"
	// CodeSignatureInvalid: the signature is not the named key's over this statement.
	CodeSignatureInvalid = "signature_invalid"
	// CodeSignatureUntrusted: the bundle names a key that is not trusted.
	CodeSignatureUntrusted = "signature_untrusted"
	// CodeSignatureKeyWindow: the key is trusted, but not at that time.
	CodeSignatureKeyWindow = "signature_key_window"
	// CodeCertificateUntrusted: the certificate is not of a trusted authority at the
	// trusted time, or not seen by a log that must have seen it.
	CodeCertificateUntrusted = "certificate_untrusted"
	// CodeIdentityMismatch: the certificate is genuine, but somebody else's.
	CodeIdentityMismatch = "identity_mismatch"
	// CodeIdentityPolicy: an identity to trust does not pin enough.
	CodeIdentityPolicy = "identity_policy"
	// CodeSignatureTime: nothing trusted attests when it was signed.
	CodeSignatureTime = "signature_time"
	// CodeSignatureLog: no trusted transparency log holds the signature.
	CodeSignatureLog = "signature_log"
	// CodeTrustedRootMalformed: a trusted_root.json is none.
	CodeTrustedRootMalformed = "trusted_root_malformed"
	// CodeStatementMalformed: what was signed is not a statement of that kind.
	CodeStatementMalformed = "statement_malformed"
	// CodeStatementMismatch: the statement is genuine, but about something else.
	CodeStatementMismatch = "statement_mismatch"
	// CodeSignerConfig: a service that signing needs is not named, or not in a way
	// that is safe.
	CodeSignerConfig = "signer_config"
	// CodeSignerUnreachable: a service that signing needs does not answer.
	CodeSignerUnreachable = "signer_unreachable"
	// CodeSignerRefused: a service that signing needs answers that it will not.
	CodeSignerRefused = "signer_refused"
)
