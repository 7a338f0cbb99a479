package limits

import "time"

// Bounds on policies: on what is read to build them, on what one evaluation may
// take, and on what it may answer. Going over any of them denies.
const (
	// PolicyFile is the size in bytes of one policy or data file.
	PolicyFile = 1 << 20
	// PolicyFiles is the number of policy and data files of one set.
	PolicyFiles = 2000
	// PolicySet is the size in bytes of all files of one set together.
	PolicySet = 16 << 20
	// PolicyEntries is the number of directory entries looked at in one set,
	// so that a set that names a huge tree by mistake is told soon.
	PolicyEntries = 100_000
	// PolicyDepth is how deep the directories of a set may be nested.
	PolicyDepth = 32

	// PolicyInput is the size in bytes of one input document as JSON.
	PolicyInput = 64 << 20
	// PolicyBody is the size in bytes up to which an artifact's body is inline in
	// the input document; a larger one is there as digest and size only.
	PolicyBody = 256 << 10
	// PolicyPatchText is the size in bytes of all lines of one patch in the input
	// document, each line counted as 64 bytes more than its text.
	PolicyPatchText = 8 << 20

	// PolicyTime is how long one policy (one package) may take.
	PolicyTime = 10 * time.Second
	// PolicyGrace is how long a policy that was told to stop may take to do so
	// before it is left behind.
	PolicyGrace = time.Second
	// PolicyMemory is by how many bytes the heap of the process may grow while
	// one policy is evaluated.
	PolicyMemory = 1 << 30
	// PolicyMemoryTick is how often the heap is looked at.
	PolicyMemoryTick = 10 * time.Millisecond

	// PolicyCallBytes is how many bytes one call of a built-in function that multiplies
	// what it is given may give; an element of a list counts as 16.
	PolicyCallBytes = 64 << 20

	// PolicyCompileTime is how long reading, compiling and preparing all policies of
	// one kind (those over plans, those over take-offs, those of a test run) may take.
	PolicyCompileTime = 30 * time.Second
	// PolicyCompileMemory is by how many bytes the heap of the process may grow then.
	PolicyCompileMemory = 1 << 30
	// PolicyElse is the number of else branches of one rule; compiling takes the
	// square of it.
	PolicyElse = 500
	// PolicyExpressions is the number of expressions of one body of a rule.
	PolicyExpressions = 2000
	// PolicyNesting is how deep comprehensions may be nested in each other; compiling
	// takes exponential time in it.
	PolicyNesting = 10
	// PolicyRules is the number of rules of one set.
	PolicyRules = 20_000
	// PolicyTerms is the number of terms (values, variables, references and what they
	// are made of) of all rules of one set.
	PolicyTerms = 1_000_000
	// PolicyTypeCost is how many steps it may take to compare the type of one value
	// of a policy with another such type. It doubles with each level of nesting.
	PolicyTypeCost = 4_000_000

	// PolicyFindings is the number of findings that one rule may give.
	PolicyFindings = 1000
	// PolicyText is the size in bytes of one reason or one text of a finding;
	// the rest is cut off.
	PolicyText = 4096
	// PolicyAnswer is the size in bytes of a decision document, and of all texts
	// of one rule's findings together.
	PolicyAnswer = 1 << 20
)

// Bounds on explanations of decisions.
const (
	// PolicyTraceRules is the number of rule bodies of one policy that are told of.
	PolicyTraceRules = 2000
	// PolicyTraceOpen is the number of rule bodies under evaluation that are followed.
	PolicyTraceOpen = 100_000
)

// Bounds on parsed views of artifact bodies.
const (
	// LegibleLine is the length in bytes of a line of text above which nobody reads it.
	LegibleLine = 1 << 20
	// ViewBody is the size in bytes of a body that is parsed for judges.
	ViewBody = 16 << 20
	// ViewYAML is the same for YAML, which takes many times its size to read.
	ViewYAML = 4 << 20
	// ViewNodes is the number of values of a YAML body, each use of an alias counted.
	ViewNodes = 500_000
	// ViewDocuments is the number of documents in one body.
	ViewDocuments = 10_000
	// ViewResources is the number of resource changes of one Terraform plan.
	ViewResources = 50_000
	// ViewStatements is the number of statements and bindings of all policies that
	// one Terraform plan holds as text, before and after.
	ViewStatements = 50_000
)
