package policies

// Text is one string of a message of a gateway, decoded.
type Text struct {
	At    string // where it stands: an RFC 6901 pointer into the message
	Value string
	// Kind is "" or what the string is for: "description", "text", "resource",
	// "error" or "argument".
	Kind string
}

// Rewrite is one value of a message to be replaced, or removed.
type Rewrite struct {
	At    string // an RFC 6901 pointer into the message
	Value any    // what to put there; nil removes it
}

// Opinion is what one judge says of one message of a gateway. Its findings are in an
// order that depends on the judge and the message only.
type Opinion struct {
	Findings []Finding
	// Changes are what the judge wants rewritten.
	Changes []Rewrite
	// Hide are names of tools that are not to be seen, sorted.
	Hide []string
	// Hidden are secrets that the judge found: what anybody says of the message must not
	// show them. Names of members stand in pointers, for example.
	Hidden Hidden
}
