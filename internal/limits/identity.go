package limits

import "time"

// Bounds of telling who the clients of a gateway are.
const (
	// IdentityToken is how many bytes a bearer token may have.
	IdentityToken = 16 << 10
	// IdentityKeys is how many bytes a key set or an issuer's metadata may have, and
	// IdentityKeyCount how many keys.
	IdentityKeys     = 1 << 20
	IdentityKeyCount = 256
	// IdentityName is how many bytes a client's name may have.
	IdentityName = 512
	// IdentityFetch is how long fetching keys may take.
	IdentityFetch = 10 * time.Second
	// IdentityFresh is how long fetched keys are used without asking again, and
	// IdentityStale how long if the issuer cannot be asked.
	IdentityFresh = 10 * time.Minute
	IdentityStale = time.Hour
	// IdentityAgain is how long a key that is not known is not asked for again.
	IdentityAgain = 30 * time.Second
	// IdentitySkew is by how much clocks may differ.
	IdentitySkew = time.Minute
)
