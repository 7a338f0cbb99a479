package policies

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cabincrew/action/protocol"
)

// FromFS reads a policy set from a file system that holds nothing else, by the
// rules of Load: what Load refuses in a directory is refused here. where names the
// source for messages. A set that comes from elsewhere is not what it should be then
// and denies, where a directory of the user's own is a mistake of usage.
func FromFS(ctx context.Context, name, where string, fsys fs.FS) (Set, error) {
	set, err := read(ctx, name, where, fsys)
	var e *protocol.Error
	if errors.As(err, &e) && e.Exit == protocol.ExitUsage {
		denied := *e
		denied.Exit = protocol.ExitDenied
		return Set{}, &denied
	}
	return set, err
}
