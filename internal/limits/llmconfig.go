package limits

import "time"

// Bounds of the configuration of the LLM gateway.
const (
	// LLMListen is where the gateway listens unless it is told.
	LLMListen = "127.0.0.1:9150"
	// LLMBodyMax and LLMAnswerMax are the largest sizes that a configuration may allow.
	LLMBodyMax   = 64 << 20
	LLMAnswerMax = 64 << 20
	// LLMConcurrentMax is how many calls under way a configuration may allow.
	LLMConcurrentMax = 100_000
	// LLMTotalText, LLMFirstByteText and LLMIdleText are how long a call, the first byte
	// of an answer and the pauses in it may take; LLMTimeMax is the most of each.
	LLMTotalText     = "10m"
	LLMFirstByteText = "10m"
	LLMIdleText      = "2m"
	LLMTimeMax       = 24 * time.Hour
	// LLMRetries is how often a call is tried again unless the configuration says otherwise.
	LLMRetries = 2
	// LLMBreakerMax is how many failures after one another a configuration may wait for.
	LLMBreakerMax = 1000
	// LLMKeys is how many virtual keys there may be: each is compared with every
	// credential that comes.
	LLMKeys = 1024
	// LLMKeyRate is the largest rate of a key, in requests a minute.
	LLMKeyRate = 1_000_000
	// LLMCacheText is how long an answer is kept, where any is, and LLMCacheMax how many
	// bytes of them at the most.
	LLMCacheText = "5m"
	LLMCacheMax  = 4 << 30
	// LLMSystemText is the size of what is put before the instructions of clients, in bytes.
	LLMSystemText = 16 << 10
	// LLMCanary is how long the check of the judges at the start may take.
	LLMCanary = 30 * time.Second
	// LLMCanaryText is the size of a text that the judges must stop, in bytes.
	LLMCanaryText = 16 << 10
)
