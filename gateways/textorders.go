package gateways

// Classes of words. A word may be of several.
const (
	wordIgnore uint32 = 1 << iota
	wordEarlier
	wordInstructions
	wordNot
	wordTell
	wordUser
	wordWhen
	wordUsing
	wordTool
	wordMust
	wordYou
	wordAre
	wordNow
	wordFrom
	wordOn
	wordSend
	wordSecrets
	wordTo
	wordWithout
	wordNew
	wordSecretly
	wordFollow
	wordSystem
)

// step is one word of an order: its class, and within how many words it must follow.
type step struct {
	class  uint32
	within int
}

const (
	maxOrders = 10
	maxSteps  = 4
)

// orders are the sequences of words that are looked for.
var orders = [...]struct {
	bit   uint16
	steps []step
}{
	{bitOverride, []step{{wordIgnore, 0}, {wordEarlier, 4}, {wordInstructions, 4}}},
	{bitOverride, []step{{wordNot, 0}, {wordFollow, 2}, {wordEarlier, 4}, {wordInstructions, 4}}},
	{bitConceal, []step{{wordNot, 0}, {wordTell, 3}, {wordUser, 5}}},
	{bitConceal, []step{{wordWithout, 0}, {wordTell, 2}, {wordUser, 4}}},
	{bitConceal, []step{{wordSecretly, 0}, {wordSend, 3}}},
	{bitToolOrder, []step{{wordWhen, 0}, {wordUsing, 2}, {wordTool, 4}, {wordMust, 10}}},
	{bitNewRole, []step{{wordYou, 0}, {wordAre, 1}, {wordNow, 1}}},
	{bitNewRole, []step{{wordFrom, 0}, {wordNow, 1}, {wordOn, 1}, {wordYou | wordMust, 3}}},
	{bitNewRole, []step{{wordNew, 0}, {wordSystem, 2}, {wordInstructions, 2}}},
	{bitExfiltrate, []step{{wordSend, 0}, {wordSecrets, 6}, {wordTo, 6}}},
}

// classOf gives the classes of a word in small letters.
func classOf(word []byte) uint32 { //nolint:gocyclo,cyclop,funlen // one table
	switch string(word) {
	case "ignore", "disregard", "forget", "override", "bypass", "discard", "ignoring", "disregarding", "ignoriere", "ignorieren", "vergiss",
		"ignorez", "oubliez", "ignora", "olvida", "ignorar":
		return wordIgnore
	case "previous", "prior", "above", "earlier", "preceding", "existing", "all", "any", "your", "other", "vorherigen", "bisherigen", "alle",
		"precedentes", "anteriores", "toutes", "todas":
		return wordEarlier
	case "system":
		return wordEarlier | wordSystem
	case "instructions", "instruction", "prompt", "prompts", "rules", "guidelines", "directions", "directives", "orders", "constraints",
		"restrictions", "safeguards", "anweisungen", "regeln", "instrucciones", "consignes":
		return wordInstructions
	case "dont", "never", "not", "avoid", "nicht", "niemals":
		return wordNot
	case "follow", "obey":
		return wordFollow
	case "tell", "mention", "inform", "reveal", "notify", "disclose", "show", "telling", "informing", "notifying", "mentioning", "asking",
		"alert", "explain", "let":
		return wordTell
	case "user", "users", "human", "humans", "anyone", "anybody", "developer", "operator", "person":
		return wordUser
	case "without":
		return wordWithout
	case "secretly", "silently", "quietly", "covertly":
		return wordSecretly
	case "before", "after", "when", "whenever", "prior_to", "whilst", "while":
		return wordWhen
	case "using", "calling", "invoking", "use", "call", "invoke", "running", "run":
		return wordUsing
	case "tool", "tools", "function", "functions":
		return wordTool
	case "must", "always", "read", "first":
		return wordMust
	case "you":
		return wordYou
	case "are":
		return wordAre
	case "now":
		return wordNow
	case "from":
		return wordFrom
	case "on":
		return wordOn
	case "new", "updated", "revised", "actual", "real":
		return wordNew
	case "send", "upload", "post", "forward", "exfiltrate", "transmit", "pass", "leak", "include", "append", "copy", "email":
		return wordSend
	case "credentials", "passwords", "password", "secrets", "token", "tokens", "conversation", "key", "keys", "ssh", "rsa", "env", "cookies",
		"history", "mnemonic":
		return wordSecrets
	case "to", "as", "into", "in", "via":
		return wordTo
	}
	return 0
}
