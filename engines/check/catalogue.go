package check

import "slices"

// Ids of the checks, in the order in which they are reported.
const (
	PlanReceipt     = "plan-receipt"
	PlanArtifacts   = "plan-artifacts"
	PlanWorkspace   = "plan-workspace"
	PlanRepeat      = "plan-repeat"
	PlanClock       = "plan-clock"
	PlanMachine     = "plan-machine"
	InputEmpty      = "input-empty"
	InputMalformed  = "input-malformed"
	InputMode       = "input-mode"
	InputHuge       = "input-huge"
	ModeUnknown     = "mode-unknown"
	ConfigUnknown   = "config-unknown"
	TakeOff         = "take-off"
	TakeOffScope    = "take-off-scope"
	TakeOffRepeat   = "take-off-repeat"
	TakeOffMissing  = "take-off-missing"
	TakeOffChanged  = "take-off-changed"
	TakeOffTwice    = "take-off-twice"
	Secrets         = "secrets"
	Processes       = "processes"
	RefusedAttempts = "refused"
)

// Check describes one check.
type Check struct {
	ID      string
	Demands string // what an engine must do to pass
	Remedy  string // what to do where it fails
	// Tells is set where the check only tells something and never fails.
	Tells bool
}

// Catalogue lists every check.
func Catalogue() []Check {
	return []Check{
		{PlanReceipt, "Flight-plan ends with exit 0 and one valid receipt of that mode.",
			"Write one EngineOutput with mode and status success to stdout (and nothing else there; the log goes to stderr) or to CABINCREW_OUTPUT_FILE, and end with exit 0.", false},
		{PlanArtifacts, "Every artifact is declared, valid and has the declared hash.",
			"Declare each directory in CABINCREW_ARTIFACTS_DIR with name, role, path = name and the SHA-256 of its body file (of artifact.json where there is none), and leave nothing else there.", false},
		{PlanWorkspace, "Flight-plan leaves the workspace as it is.",
			"Plan what you would change as artifacts, and change it in take-off; put temporary files into CABINCREW_TEMP_DIR.", false},
		{PlanRepeat, "Evidence is byte for byte the same in a second run in other surroundings.",
			"Sort what you list, set LC_ALL=C, and keep time, random numbers, workflow_id, paths, the environment and file attributes out of evidence; what must vary belongs into state or log.", false},
		{PlanClock, "Evidence does not hold the time at which it was made.",
			"Leave the time out, or take it from the input, such as from a commit or a file.", false},
		{PlanMachine, "Evidence holds nothing that only this machine has, such as ids, kernel, name, memory or paths.",
			"Leave it out: the plan is compared with one that is made on another machine.", false},
		{InputEmpty, "Without any input the engine refuses.",
			"End with exit 2 where the input is empty or its file is missing; never plan from defaults.", false},
		{InputMalformed, "Input that is not JSON is refused.",
			"Parse the whole input before doing anything, and end with exit 2 where that fails.", false},
		{InputMode, "Input of another mode than --mode is refused.",
			"Compare the input's mode with --mode, and end with exit 2 where they differ.", false},
		{InputHuge, "Input with 8 MiB of settings is refused in time.",
			"Bound what you read of the input (1 MiB is plenty), and end with exit 2 beyond that.", false},
		{ModeUnknown, "A mode that does not exist is refused.",
			"Compare with flight-plan and with take-off, and end with exit 2 for everything else.", false},
		{ConfigUnknown, "Tells whether a setting that the engine does not know is refused.",
			"Refuse settings that you do not know, so that a mistyped one does not go unnoticed.", true},
		{TakeOff, "Take-off over a copy succeeds with the planned artifacts and makes no new ones.",
			"Read the artifacts from CABINCREW_ARTIFACTS_DIR, apply them, write a receipt of mode take-off without artifacts, and end with exit 0.", false},
		{TakeOffScope, "Take-off changes what the plan names, to what the plan's patches say, and nothing else.",
			"Write nothing but what was planned, and name every file that take-off writes in an artifact: in a patch, as target, or in the body.", false},
		{TakeOffRepeat, "A second take-off of the same plan, over a copy in other surroundings, leaves the same files.",
			"Compute nothing again in take-off: take every byte from the artifacts, without time, chance, locale, order or the environment.", false},
		{TakeOffMissing, "Take-off without its artifacts fails and changes nothing.",
			"Read and check every artifact that you need before you change anything, and fail where one is missing.", false},
		{TakeOffChanged, "Take-off does not apply a state artifact that was changed.",
			"Keep the SHA-256 of each state body in an evidence artifact's metadata, and compare before you change anything.", false},
		{TakeOffTwice, "Tells what a second take-off over its own result does.",
			"Nothing to do. Where it changes nothing the second time, steps may say idempotent: true.", true},
		{Secrets, "Values of secrets are in no receipt, artifact or log.",
			"Never print or store a secret, nor a request or an environment that holds one.", false},
		{Processes, "No process outlives the engine.",
			"Wait for every child before you end.", false},
		{RefusedAttempts, "Tells what the sandbox refused the engine.",
			"Nothing to do where the engine works without it; in a flight, policies see these attempts.", true},
	}
}

// Known says whether there is a check of that id.
func Known(id string) bool {
	return slices.ContainsFunc(Catalogue(), func(c Check) bool { return c.ID == id })
}

func remedyOf(id string) string {
	for _, c := range Catalogue() {
		if c.ID == id {
			return c.Remedy
		}
	}
	return ""
}
