package limits

// ProgramBytes is the most bytes of one file that is read only to know what it is:
// an engine, a tool, a module, an interpreter.
const ProgramBytes = 4 << 30
