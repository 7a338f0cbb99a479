package cli

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// notAPath begins what names something outside of a workspace: an address, or a place
// on another machine.
var notAPath = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://|[^/]+@[^/]+:)`)

// pathOfTarget gives the path in the workspace that an artifact's target names, whose
// owners are asked as those of a changed file. A name of something else than a file is
// taken for one too: which of both an engine means, it does not say.
func pathOfTarget(target string) (string, bool) {
	if target == "" || len(target) > limits.PathBytes || notAPath.MatchString(target) || strings.ContainsRune(target, 0) {
		return "", false
	}
	at := path.Clean(target)
	return at, at != "." && !path.IsAbs(at) && filepath.IsLocal(at)
}
