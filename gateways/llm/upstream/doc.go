// Package upstream is the client of one provider of models: it sends a request whose body
// is already judged, and gives the answer as it comes.
//
// It promises: a request is sent at most once; a failure says whether any byte of it may
// have reached the provider; no redirect is followed, no proxy of the environment is used
// and no address is connected to that the operator cannot have meant; the key of the
// provider is in no error and no header field of an answer; an answer that was cut off,
// stalled or is too large ends with an error and never looks whole; and nothing that a
// provider does fills memory or keeps a call for ever.
package upstream
