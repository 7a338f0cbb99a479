package bundle

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// Store keeps archives.
type Store interface {
	// Put stores an archive and gives the reference by digest. Storing it again
	// changes nothing.
	Put(ctx context.Context, archive *os.File, p Packed, m Meta) (Ref, error)
	// Get writes the archive that a reference names into an empty file and gives the
	// reference by digest. Every byte was compared with it.
	Get(ctx context.Context, ref Ref, into *os.File) (Ref, error)
}

// Meta is what a storage may tell of a flight to those who only look. Nothing is
// decided by it.
type Meta struct {
	WorkflowID  string
	FlightToken string
	Decision    string
	Change      string
	HeadCommit  string
	Created     string // RFC 3339, from the flight
	// PlanBundle is plan.sigstore.json, PredicateType what it states; empty where
	// the plan is not signed.
	PlanBundle    []byte
	PredicateType string
}

// Options say how a storage is reached. The zero value asks registries anonymously.
type Options struct {
	// Now tells how old unfinished files are; nil leaves all of them.
	Now func() time.Time
	// Plain allows http, to a registry on the loopback interface only.
	Plain bool
	// DockerConfig is the text of a Docker configuration with credentials.
	DockerConfig []byte
	// Hosts lists hosts to which a registry may send us although their addresses
	// are private.
	Hosts []string
	// Transport replaces the transport of a registry's client.
	Transport http.RoundTripper
	// Progress is told how many bytes of an archive are through.
	Progress func(done, total int64)

	delay time.Duration // 0: limits.StorageDelay
	stall time.Duration // 0: limits.StorageStall
	chunk int           // 0: limits.StorageChunk
	least time.Duration // 0: limits.StorageRequest; what any transfer may take
	rate  int64         // 0: limits.StorageRate
}

// Open gives the storage that a reference names.
func Open(ref Ref, o Options) (Store, error) {
	if o.delay == 0 {
		o.delay = limits.StorageDelay
	}
	if o.stall == 0 {
		o.stall = limits.StorageStall
	}
	if o.chunk == 0 {
		o.chunk = limits.StorageChunk
	}
	if o.least == 0 {
		o.least = limits.StorageRequest
	}
	if o.rate == 0 {
		o.rate = limits.StorageRate
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if ref.Kind == Dir {
		return &dirStore{ref: ref, o: o}, nil
	}
	return openOCI(ref, o)
}
