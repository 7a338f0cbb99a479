package bundle

import (
	"context"
	"errors"

	"github.com/cabincrew/action/protocol"
)

func malformed(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "archive_malformed", format, args...).At(where).
		WithHint("an archive is made by cabincrew push or export; this one was changed or made by other means, and nothing of it is used")
}

func tooLarge(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "archive_limit", format, args...).At(where)
}

// mismatch is the error for bytes that are not what their digest or size says.
func mismatch(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "storage_digest", format, args...).At(where).
		WithHint("the storage, or what lies between, gives other bytes than the digest names; nothing of them is used")
}

func missing(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "storage_missing", format, args...).At(where).
		WithHint("what is missing is taken for refused; push the flight again from where it is")
}

func unreachable(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "storage_unreachable", format, args...).At(where)
}

func badRef(ref, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "storage_ref", "the reference "+format, args...).At(ref).
		WithHint("write dir:PATH or oci:HOST/REPOSITORY[:TAG], to read one flight with @sha256:…")
}

// interrupted turns the end of a context into the error for it; nil otherwise.
func interrupted(ctx context.Context) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.Errorf(protocol.ExitUnreachable, "storage_unreachable", "the time for it is over: %w", context.Cause(ctx))
	default:
		return protocol.Errorf(protocol.ExitInterrupted, "interrupted", "interrupted: %w", context.Cause(ctx))
	}
}
