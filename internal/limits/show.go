package limits

// Bounds on what is shown to people.
const (
	ShowLines       = 2_000    // lines of artifacts that the terminal view of a flight shows, all steps together
	ShowPageLines   = 50_000   // the same of the HTML page
	ShowLineBytes   = 2_000    // bytes of one line; the rest is left out and counted
	ShowText        = 64 << 10 // bytes of an artifact's text that is not a patch
	ShowTimeline    = 500      // events of the timeline on a terminal
	ShowPageEvents  = 20_000   // the same of the HTML page
	ValidateBytes   = 64 << 20 // bytes of a document that validate reads
	PolicyEvalBytes = 64 << 20 // bytes of a policy input that policy eval reads

	DiskFail = 100 << 20 // bytes of free space below which doctor fails
	DiskWarn = 1 << 30   // bytes of free space below which doctor warns
)
