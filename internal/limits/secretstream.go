package limits

// Bounds of the search for secrets in texts that come in pieces. What goes beyond
// cannot be judged, and is denied.
const (
	// SecretStreamHeld is how many bytes of one text are held back at most, because they
	// may be part of a secret.
	SecretStreamHeld = 256 << 10
	// SecretStreamKept is how many bytes of one text are kept at most, held back or to
	// see with what follows.
	SecretStreamKept = 512 << 10
	// SecretStreamLine is how many bytes of the line before a place are seen with it.
	SecretStreamLine = 16 << 10
)
