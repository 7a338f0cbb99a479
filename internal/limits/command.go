package limits

// Bounds of the built-in engine command.
const (
	// CommandArguments is how many elements the program's argument vector may have.
	CommandArguments = 10_000
	// CommandMessageBytes is the length of the summary's title, in bytes.
	CommandMessageBytes = 200
)
