package sandbox

import "github.com/cabincrew/action/engines/sandbox/inside"

// The tiers of isolation.
const (
	TierA = inside.TierA // namespaces, Landlock where the kernel has it, system call filter
	TierB = inside.TierB // Landlock and a system call filter without sockets
	TierC = inside.TierC // none
)

// The names of layers in Isolation.Missing and Confine.Require.
const (
	LayerCapabilities = inside.LayerCapabilities
	LayerCgroup       = inside.LayerCgroup
	LayerLandlock     = inside.LayerLandlock
	LayerNamespaces   = inside.LayerNamespaces
	LayerNoNewPrivs   = inside.LayerNoNewPrivs
	LayerRlimits      = inside.LayerRlimits
	LayerSeccomp      = inside.LayerSeccomp
	LayerAttributes   = inside.LayerAttributes // no layer but a gap of tier B
	LayerSignals      = inside.LayerSignals    // no layer but a gap of tier B on kernels before 6.12
)

// The defaults of Limits.
const (
	DefaultMemory    = inside.DefaultMemory
	DefaultProcesses = inside.DefaultProcesses
	DefaultFileSize  = inside.DefaultFileSize
	DefaultOpenFiles = inside.DefaultOpenFiles
	DefaultTempBytes = inside.DefaultTempBytes
)

// ProxyAddress is where a child with Confine.Listen finds its proxy.
const ProxyAddress = inside.ProxyAddress

// The helper needs these types before anything of this package is initialised, so
// they are the helper's.

// Isolation says what was enforced around a child.
type Isolation = inside.Isolation

// Confine says how a child is held.
type Confine = inside.Confine

// Bind is a file or directory that the child sees.
type Bind = inside.Bind

// View is a directory in tier A that is composed of others without a copy.
type View = inside.View

// Limits bound what a confined child may use; 0 means the default.
type Limits = inside.Limits

// Attempt is a forbidden act that a layer saw.
type Attempt = inside.Attempt

// Act is a forbidden act that a probe tried.
type Act = inside.Act
