package limits

import "time"

// Bounds of the search for secrets. What goes beyond is denied, not passed over.
const (
	// SecretBytes is how many bytes of one step's artifacts are looked through.
	SecretBytes = 1 << 30
	// SecretTime is how long that may take for one step.
	SecretTime = 2 * time.Minute
	// SecretChunk is the size in bytes of the parts in which large bodies are read.
	SecretChunk = 1 << 20
	// SecretOverlap is how many bytes two parts share: a secret that is shorter is
	// found wherever the parts begin.
	SecretOverlap = 64 << 10
	// SecretBefore is how many bytes before a part are seen with it.
	SecretBefore = 1 << 10

	// SecretDepth is how many encodings around a secret are taken off.
	SecretDepth = 3
	// SecretEncoded is the least number of base64 characters that are decoded.
	SecretEncoded = 16
	// SecretText is the least number of printable characters in a row that decoded
	// bytes must have to be looked at.
	SecretText = 10
	// SecretContext is how many bytes around decoded bytes are seen with them.
	SecretContext = 96
	// SecretExpansion is how many times the size of a text everything that is decoded
	// from it may have; SecretExpansionFree is what it may have in any case, in bytes.
	SecretExpansion     = 8
	SecretExpansionFree = 1 << 20

	// SecretFindings is how many findings one step may have; the rest is counted.
	SecretFindings = 1000
	// SecretHidden is how many bytes of secrets are kept during one search, to take them
	// out of what other judges say; beyond, nothing that those say is shown.
	SecretHidden = 1 << 20
	// SecretFieldDepth is how deep metadata may be nested.
	SecretFieldDepth = 200

	// SecretBaseline is the size of a baseline file in bytes, SecretBaselineEntries
	// how many known findings it may list, and SecretBaselineReason the size in bytes
	// of one reason or path in it.
	SecretBaseline        = 8 << 20
	SecretBaselineEntries = 20_000
	SecretBaselineReason  = 4096
)
