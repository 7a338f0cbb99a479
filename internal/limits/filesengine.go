package limits

// Bounds of the built-in engine files.
const (
	// FilesEntries is how many files one step may declare.
	FilesEntries = 4096
	// FilesFileBytes is the size of one file that is written, in bytes.
	FilesFileBytes = 16 << 20
	// FilesBytes is the size of all files that are written, in bytes.
	FilesBytes = 64 << 20
	// FilesMessageBytes is the length of the summary's title, in bytes.
	FilesMessageBytes = 200
)

// Bounds of the templates of built-in engines. Work is counted, not timed, so that
// the same template ends in the same way on every machine: a node of the template
// that is visited costs TemplateNodeWork, a byte that a function reads or makes
// costs one. All of it takes less than a second.
const (
	// TemplateBytes is the size of one template, in bytes. Its parser recurses.
	TemplateBytes = 256 << 10
	// TemplateTextBytes is the size of one text that a function of a template makes, in bytes.
	TemplateTextBytes = 64 << 10
	// TemplateWork is how much work one template may do.
	TemplateWork = 2_000_000
	// TemplateNodeWork is what one node of a template costs.
	TemplateNodeWork = 10
	// TemplateIndent is the largest width of an indentation, in spaces.
	TemplateIndent = 64
)
