package limits

// Bounds of counting approvals that a forge tells of.
const (
	// ApprovalCodeDigits is how long an approval code is, in hexadecimal digits.
	ApprovalCodeDigits = 12
	// ApprovalSteps is how many ways of giving people to roles are tried; more is no approval.
	ApprovalSteps = 5_000
)
