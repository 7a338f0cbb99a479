package limits

import "time"

// Bounds of the built-in engine terraform.
const (
	// TerraformPlanFile is the size of a saved plan, in bytes.
	TerraformPlanFile = 256 << 20
	// TerraformPlanJSON is the size of what "show -json" prints, in bytes.
	TerraformPlanJSON = 64 << 20
	// TerraformState is the size of a state, as pulled or in a saved plan, in bytes.
	TerraformState = 64 << 20
	// TerraformLog is how many bytes of terraform's messages are kept in the log.
	TerraformLog = 8 << 20
	// TerraformErrors is how many bytes at the end of those are searched for errors.
	TerraformErrors = 64 << 10

	// TerraformList is how many elements a list or map of the configuration may have.
	TerraformList = 256
	// TerraformText is the length of one text of the configuration, in bytes.
	TerraformText = 8192
	// TerraformParallelism is the most operations at once.
	TerraformParallelism = 256
	// TerraformLockTimeout is the longest wait for the lock of a state.
	TerraformLockTimeout = time.Hour

	// TerraformModules is how many directories of modules one plan may use.
	TerraformModules = 2000
	// TerraformFiles is how many configuration files their directories may hold.
	TerraformFiles = 10_000
	// TerraformFile is the size of one configuration file, in bytes.
	TerraformFile = 16 << 20
	// TerraformEntries is how many entries a directory of a module may have.
	TerraformEntries = 100_000

	// TerraformHideWhole is the length in bytes from which on a text equal to a
	// sensitive value is hidden wherever a plan has values.
	TerraformHideWhole = 4
	// TerraformHidePart is the length from which on a sensitive value is also
	// hidden inside longer texts: a shorter one occurs by chance.
	TerraformHidePart = 8
	// TerraformHidePartMost is the length up to which that is done; the time for
	// one text grows with it.
	TerraformHidePartMost = 512
	// TerraformHidden is how many different sensitive values one plan may have.
	TerraformHidden = 20_000

	// TerraformNamed is how many resources or files one message names.
	TerraformNamed = 20
	// TerraformGrace is how long terraform may take to save its state after it was
	// told to stop, before it is killed.
	TerraformGrace = 30 * time.Second
)
