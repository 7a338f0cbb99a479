package limits

import "time"

// Bounds of the LLM gateway's connections to providers. A provider is hostile: what it
// sends fills no memory and keeps nobody waiting for ever.
const (
	// LLMUpstreamAnswerBytes is the size of one answer, streams included, unless the
	// configuration says otherwise.
	LLMUpstreamAnswerBytes = 64 << 20
	// LLMUpstreamErrorBytes is how much of an answer that is an error is read; it is read
	// whole, so that the provider's key can be taken out of it.
	LLMUpstreamErrorBytes = 64 << 10
	// LLMUpstreamHeaderBytes is the size of an answer's header fields.
	LLMUpstreamHeaderBytes = 64 << 10
	// LLMUpstreamFieldBytes is the size of the header fields and the query of a client
	// that go on, names and values, in all.
	LLMUpstreamFieldBytes = 8 << 10
	// LLMUpstreamPathBytes is the length of a path below the base.
	LLMUpstreamPathBytes = 1024
	// LLMUpstreamKeyBytes is the length of a key.
	LLMUpstreamKeyBytes = 16 << 10
	// LLMUpstreamHeaders is how many fixed header fields one provider may have.
	LLMUpstreamHeaders = 64

	// LLMUpstreamDialTime is until a connection stands, and until TLS does.
	LLMUpstreamDialTime = 10 * time.Second
	// LLMUpstreamFirstByte is from a request to the first byte of its answer's body. Whole
	// answers come when all of them was thought of; clients wait for ten minutes.
	LLMUpstreamFirstByte = 10 * time.Minute
	// LLMUpstreamIdle is between two bytes of an answer.
	LLMUpstreamIdle = 2 * time.Minute
	// LLMUpstreamTotal is from a request to the end of its answer.
	LLMUpstreamTotal = 30 * time.Minute

	// LLMUpstreamTokenTime is for a key to be exchanged for an access token.
	LLMUpstreamTokenTime = 20 * time.Second
	// LLMUpstreamTokenEarly is how long before its end an access token is not used any more.
	LLMUpstreamTokenEarly = 1 * time.Minute
	// LLMUpstreamTokenPause is between two exchanges, where one fails or its token ends at once.
	LLMUpstreamTokenPause = 2 * time.Second

	// LLMUpstreamVaultTime is for how long a key from a secret manager is used before it is
	// asked for again.
	LLMUpstreamVaultTime = 5 * time.Minute
	// LLMUpstreamVaultAway is for how long it is used where the secret manager is away.
	LLMUpstreamVaultAway = 1 * time.Hour
	// LLMUpstreamVaultBytes is the size of a secret manager's answer.
	LLMUpstreamVaultBytes = 1 << 20

	// LLMUpstreamIdleTime is how long a connection is kept that nobody uses. Common servers
	// of models close theirs after five seconds, and one that is about to be closed must not
	// be used: a call is never sent twice.
	LLMUpstreamIdleTime = 4 * time.Second
	// LLMUpstreamFarIdleTime is the same for providers in the Internet: what stands before
	// those keeps connections for a minute or more, and a new one costs three ways there.
	LLMUpstreamFarIdleTime = 30 * time.Second
	// LLMUpstreamWireBytes is the size of a request that is written before its answer is
	// read; a socket takes more at once.
	LLMUpstreamWireBytes = 32 << 10
	// LLMUpstreamHints is how many interim answers (HTTP 1xx) may come before one answer.
	LLMUpstreamHints = 5
	// LLMUpstreamIdleConns is how many idle connections to one provider are kept.
	LLMUpstreamIdleConns = 256
	// LLMUpstreamStale is how often a call goes over another connection because a kept one
	// was closed before a byte of it was written.
	LLMUpstreamStale = 3
	// LLMUpstreamConcurrent is how many calls one provider gets at a time, unless the
	// configuration says otherwise.
	LLMUpstreamConcurrent = 1024
)
