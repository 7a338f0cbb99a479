package inside

import "slices"

// The tiers of isolation.
const (
	TierA = "A" // namespaces, Landlock where the kernel has it, system call filter
	TierB = "B" // Landlock and a system call filter without sockets
	TierC = "C" // none
)

// The names of layers in Isolation.Missing and Confine.Require.
const (
	LayerCapabilities = "capabilities"
	LayerCgroup       = "cgroup"
	LayerLandlock     = "landlock"
	LayerNamespaces   = "namespaces"
	LayerNoNewPrivs   = "no_new_privs"
	LayerRlimits      = "rlimits"
	LayerSeccomp      = "seccomp"
	// LayerAttributes is no layer but a gap of tier B: Landlock does not stop looks
	// at modes, sizes, times and extended attributes of files, and at where symbolic
	// links lead, nor changes of modes, times and flags of those that belong to the
	// same user.
	LayerAttributes = "file_attributes"
	// LayerSignals is a gap of tier B on kernels before 6.12: signals to other
	// processes of the same user.
	LayerSignals = "signals"
)

// Isolation says what was enforced around a child.
type Isolation struct {
	Tier        string   `json:"tier"`                     // "A", "B" or "C"
	LandlockABI int      `json:"landlock_abi,omitempty"`   // 0: no Landlock
	NetNS       bool     `json:"netns,omitempty"`          // own network namespace
	Seccomp     string   `json:"seccomp_sha256,omitempty"` // digest of the filter program
	Missing     []string `json:"missing"`                  // layers that were not applied, sorted
}

// None is the isolation of tier C.
func None() Isolation { return Isolation{Tier: TierC, Missing: missing()} }

// Lacks says whether a layer is missing.
func (i Isolation) Lacks(layer string) bool { return slices.Contains(i.Missing, layer) }

// Bind is a file or directory that the child sees. A unix socket in it can be
// connected to in tier A, also where nothing may be written: no layer knows the
// programs behind sockets, so whoever binds a directory must know that it has none.
type Bind struct {
	Source string `json:"source"` // host path
	Target string `json:"target"` // where the child sees it in tier A; tier B has no other place than Source
	Write  bool   `json:"write,omitempty"`
	// Fixed makes it a mount of its own even where another bind shows it already: a mount
	// cannot be moved. Its Source must be there, without a link on the way to it.
	Fixed bool `json:"fixed,omitempty"`
}

// View is a directory in tier A that is composed of others without a copy.
type View struct {
	Target string   `json:"target"`
	Lower  []string `json:"lower"` // host directories, the upper ones first
	Hide   []string `json:"hide,omitempty"`
	// Upper, a host directory, makes the view writable: changes go there. Base and
	// Changes are then where the child sees the unchanged view and Upper, read-only.
	Upper   string `json:"upper,omitempty"`
	Base    string `json:"base,omitempty"`
	Changes string `json:"changes,omitempty"`
}

// Limits bound what a confined child may use; 0 means the default.
type Limits struct {
	Memory    int64 `json:"memory"`     // bytes of memory of all its processes together, and of what they hold elsewhere
	Processes int64 `json:"processes"`  // at the same time
	FileSize  int64 `json:"file_size"`  // bytes of one file
	OpenFiles int64 `json:"open_files"` // of one process
	TempBytes int64 `json:"temp_bytes"` // bytes of the private in-memory file systems
}

// The defaults of Limits.
const (
	DefaultMemory    = 4 << 30
	DefaultProcesses = 512
	DefaultFileSize  = 16 << 30
	DefaultOpenFiles = 4096
	DefaultTempBytes = 1 << 30
)

// Confine says how a child is held.
type Confine struct {
	Tier  string `json:"tier"` // exactly this one, or Run fails
	Binds []Bind `json:"binds,omitempty"`
	View  *View  `json:"view,omitempty"` // tier A only
	// Covers are paths, as the child sees them, that it shall find empty, tier A only.
	Covers  []string `json:"covers,omitempty"`
	Limits  Limits   `json:"limits"`
	Require []string `json:"require,omitempty"` // layers without which Run fails
	// Listen, tier A only, opens the way to a proxy: the child may connect to
	// ProxyAddress in its own network namespace, and what arrives there is given to Accept.
	Listen bool `json:"listen,omitempty"`
	// Sudo starts the helper by sudo, for tier A where user namespaces are forbidden.
	Sudo bool `json:"sudo,omitempty"`
}

// ProxyAddress is where a child with Confine.Listen finds its proxy.
const ProxyAddress = "127.0.0.1:3128"

// Attempt is a forbidden act that a layer saw.
type Attempt struct {
	Call  string `json:"call"` // name of the system call
	Count int    `json:"count"`
}

// Act is a forbidden act that a probe tried.
type Act struct {
	Name   string `json:"name"`
	Layer  string `json:"layer"`  // that should stop it
	Passed bool   `json:"passed"` // it was not stopped
	Result string `json:"result"` // the error, or "succeeded"
}
