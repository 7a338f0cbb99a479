package policies

import (
	"context"
	"io/fs"
)

// FromFS reads a policy set from a file system that holds nothing else, by the
// rules of Load: what Load refuses in a directory is refused here. where names the
// source for messages.
func FromFS(ctx context.Context, name, where string, fsys fs.FS) (Set, error) {
	return read(ctx, name, where, fsys)
}
