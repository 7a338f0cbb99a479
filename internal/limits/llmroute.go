package limits

import "time"

// Bounds of the routes of the LLM gateway.
const (
	// LLMRouteProviders is how many providers a configuration may name.
	LLMRouteProviders = 64
	// LLMRouteModels is how many models one provider may have.
	LLMRouteModels = 1024
	// LLMRouteNameBytes is the length of the name of a provider, a model or a subject
	// of a budget, in bytes.
	LLMRouteNameBytes = 256
	// LLMRouteWeight is the largest weight of a provider.
	LLMRouteWeight = 1 << 20
	// LLMRouteTokens is how many tokens one call can have. Times LLMRoutePrice, twice,
	// it fits into 63 bits.
	LLMRouteTokens = 100_000_000
	// LLMRoutePrice is the largest price of a million tokens, in millionths of the
	// currency.
	LLMRoutePrice = 10_000_000_000
	// LLMRoutePerMinute is the largest rate of a provider, requests or tokens.
	LLMRoutePerMinute = 1_000_000_000
	// LLMRouteFailures is how many failures after one another close a provider off,
	// unless the configuration says otherwise.
	LLMRouteFailures = 5
	// LLMRouteOpen is for how long a provider that failed is left alone, unless the
	// configuration says otherwise.
	LLMRouteOpen     = 30 * time.Second
	LLMRouteOpenText = "30s"
	// LLMRouteRest is the longest rest that a provider's Retry-After gets.
	LLMRouteRest = 5 * time.Minute
	// LLMRouteAttempts is how often one call may be tried in all.
	LLMRouteAttempts = 10
	// LLMRouteBudgets is how many budgets a configuration may have.
	LLMRouteBudgets = 256
	// LLMRouteSubjects is how many counters of budgets are kept, unless the
	// configuration says otherwise.
	LLMRouteSubjects = 100_000
)
