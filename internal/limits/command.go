package limits

// Bounds of the built-in engine command.
const (
	// CommandInputBytes is the size of the EngineInput that it reads, in bytes.
	CommandInputBytes = 64 << 20
	// CommandArguments is how many elements the program's argument vector may have.
	CommandArguments = 10_000
	// CommandMessageBytes is the length of the summary's title, in bytes.
	CommandMessageBytes = 200
)
