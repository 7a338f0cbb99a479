package jsonrpc

// Kind says what a message is.
type Kind int

// The kinds of messages.
const (
	Request      Kind = iota + 1 // method and id
	Notification                 // method without id
	Response                     // id and result
	Failure                      // id (or null) and error
	Batch                        // a list of messages, where the revision has them
)

// ID is the id of a request, as its JSON text: 7, or "seven" with its quotation marks.
// It is comparable; "" is none, "null" stands in failures that answer nothing known.
type ID string

// Message is one scanned message. Its slices are parts of Raw.
type Message struct {
	Raw    []byte
	Kind   Kind
	ID     ID
	Method string
	// Params, Result and Error are the JSON text of these members; nil where there is none.
	Params, Result, Error []byte
	// Parts are the messages of a batch.
	Parts []Message
}
