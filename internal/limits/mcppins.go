package limits

// Bounds of looking for files in the arguments of a tool call.
const (
	// MCPPathTexts is how many texts and names of members of one call are looked at.
	MCPPathTexts = 100_000
	// MCPPathFindings is how many files one call may name.
	MCPPathFindings = 1000
	// MCPPathLookups is how often one call makes the gateway look into the file system.
	MCPPathLookups = 10_000
	// MCPPathLinks is how many symbolic links are followed for one path; Linux follows 40.
	MCPPathLinks = 40
	// MCPPathShown is how much of a text is kept in what is told about it, in bytes.
	MCPPathShown = 512
	// MCPPathLines is how many lines of one text may each name a file.
	MCPPathLines = 1000
	// MCPPathSchemaSteps is how many parts of the schema of a tool are read for one call.
	MCPPathSchemaSteps = 20_000
	// MCPPathDescription is how much of the description of a parameter is searched for
	// words that say that it is a file, in bytes.
	MCPPathDescription = 1000
	// MCPPathReadings is how many meanings of one text are followed.
	MCPPathReadings = 16
	// MCPPathBases is from how many directories that arguments name the relative paths
	// among them are followed.
	MCPPathBases = 4
	// MCPPathParts is how many parts of one text are looked at for paths.
	MCPPathParts = 64
)
