package limits

// Bounds on reports of flights, all in bytes. The first four are those of GitHub,
// which counts bytes and refuses what is longer as a whole.
const (
	CheckField  = 65_535  // the summary, and the text, of a check
	StepSummary = 1 << 20 // the summary of a job's step
	Comment     = 65_536  // a comment; taken for bytes, since sources differ
	CheckTitle  = 255     // the title of a check or an annotation

	AnnotationMessage = 64_000 // the message of an annotation; GitHub's bound is 64 KB

	ReportLeast = 2_000 // the least room that a report is written for; a smaller one counts as this
	ReportName  = 72    // a foreign name in a line that always stands; a longer one gives way to its digest
	ReportNamed = 120   // the same as it is written
	ReportHow   = 240   // how to approve, in the first lines; longer ones stand further down only
	ReportLink  = 200   // an address that is shown as a link
	ReportTicks = 8     // backticks in a row; more are shown as escapes, since renderers stop counting
)
