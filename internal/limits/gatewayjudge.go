package limits

import "time"

// Bounds on judging one message of a gateway. What goes beyond is denied.
const (
	// GatewayJudgeTime is how long all judges together may take for one message.
	GatewayJudgeTime = 5 * time.Second
	// GatewayPolicyTime is how long all Rego policies together may take for one message.
	GatewayPolicyTime = 2 * time.Second
	// GatewayPolicyMemory is by how many bytes the heap of the process may grow
	// meanwhile.
	GatewayPolicyMemory = 256 << 20
	// GatewayPolicyTick is how often evaluations under way are looked at.
	GatewayPolicyTick = 5 * time.Millisecond
	// GatewayPolicyIdle is after how many looks at nothing the watch ends, until the
	// next evaluation.
	GatewayPolicyIdle = 200
	// GatewayChanges is the number of values that judges may want rewritten, or of
	// tools hidden, in one message.
	GatewayChanges = 10_000

	// GatewayRules is the number of rules of one gateway, and GatewayPattern the size
	// in bytes of one pattern in them.
	GatewayRules   = 1000
	GatewayPattern = 1024

	// GatewaySecretBytes is how many bytes of text of one message are looked through
	// for secrets, and GatewaySecretTime how long that may take.
	GatewaySecretBytes = 32 << 20
	GatewaySecretTime  = 5 * time.Second
	// GatewaySecretHidden is how many bytes of secrets of one message are kept, to take
	// them out of what is said of it. Where there are more, nothing else is said.
	GatewaySecretHidden = 64 << 10
	// GatewayModelBytes is how many bytes of text of one message models read.
	GatewayModelBytes = 1 << 20
)
