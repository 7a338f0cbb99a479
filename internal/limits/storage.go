package limits

import "time"

// Bounds on stored flights: archives and the places that hold them. An archive is
// hostile until its digest matches, and the flight in it stays so after that.
const (
	StorageArchive    = int64(8 << 30)   // bytes of an archive as it is stored
	StorageContent    = int64(16 << 30)  // bytes of an archive when it is decompressed, with its headers
	StorageFile       = int64(8<<30 - 1) // bytes of one file of a flight; what a plain tar header can say
	StorageEntries    = 2 * FlightFiles  // files and directories of an archive
	StorageRatio      = 1000             // how many times larger than the archive its content may be
	StorageRatioFree  = int64(256 << 20) // bytes of content of which the ratio is not asked
	StorageWindow     = 32 << 20         // bytes of the zstd window, which is memory
	StorageSealed     = 64 << 20         // bytes of encrypted.json
	StorageRecipients = 64               // recipients of encrypted files
	StorageKeys       = 64 << 10         // bytes of a file with recipients or identities
	StorageRef        = 4096             // bytes of a reference
	StorageRecipient  = 4096             // bytes of one recipient; those that withstand quantum computers are long
	StorageBundle     = 8 << 20          // bytes of the signature that stands beside a flight in a registry
	StorageAnnotation = 256              // bytes of one annotation; longer ones are left out

	StorageChunk    = 4 << 20  // bytes that are sent at a time; what every registry takes
	StorageMinChunk = 64 << 20 // bytes of the largest chunk that a registry may insist on
	StorageTries    = 5        // failures in a row in which a transfer comes no farther than ever before
	StorageRequests = 64       // requests of one transfer, and two more for each chunk of it
	StorageRate     = 32 << 10 // bytes a second of the slowest transfer, beside the time for one request
	StorageSessions = 3        // uploads of one blob that are begun anew
	StorageFallback = 8        // tries to add to a list of referrers that others change too
)

// Times of a client of a storage.
const (
	StorageRequest = 5 * time.Minute        // for one chunk or small request
	StorageStall   = 60 * time.Second       // without one byte of a download
	StorageDelay   = 250 * time.Millisecond // before the second try; doubled before each further one
	StorageTemp    = 24 * time.Hour         // age of an unfinished file that is removed
)
