package git

import (
	"context"
	"io"

	"github.com/cabincrew/action/engines/kit"
)

// ID is the engine_id of receipts.
const ID = "git"

// Version is part of the engine's digest; it changes when the same workspace and
// the same parent would give other evidence. SPEC: docs/protocol.md 3.
const Version = "1"

// Names of the artifacts.
const (
	commitName  = "commit"  // evidence: what would be committed and where it goes
	objectsName = "objects" // state: the new objects, as a git bundle
	baseName    = "base"    // state: the parent commit and those of its trees that change
)

// Names of the secrets.
const (
	secretSigningKey = "GIT_SIGNING_KEY"
	secretToken      = "GIT_TOKEN"
	secretSSHKey     = "GIT_SSH_KEY"
)

// gitDirVariable names the variable that tells where the repository's own directory is.
const gitDirVariable = "CABINCREW_GIT_DIR"

// Run runs the engine and gives its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return kit.Main(ctx, kit.Engine{ID: ID, Plan: plan, TakeOff: takeOff}, args, stdin, stdout, stderr, env)
}
