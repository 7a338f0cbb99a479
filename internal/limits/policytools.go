package limits

// Bounds on what policies and their tools tell.
const (
	// PolicyExplained is the number of bytes of all explanations of one step's report.
	PolicyExplained = 4 << 20
	// ReplayFlights is the number of flights that one replay judges.
	ReplayFlights = 100_000
)
