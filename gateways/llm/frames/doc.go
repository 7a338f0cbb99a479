// Package frames reads and rewrites the event streams of models: chat completions and
// responses of OpenAI's form, and messages of Anthropic's. It is pure: bytes go in and
// bytes come out.
//
// A Reader splits a stream into events, whatever the chunks are. A Decoder says what an
// event holds: pieces of text, each of a lane (a choice and what is said in it), where
// they stand in the event's bytes, and whether the stream ends. No text is passed over:
// what a format does not name, comments and names of members too, is reported as a
// piece of the kind Other. An event is given on as the bytes it came in, except for the
// texts that were replaced; what was held back is given out later as an event of its
// lane; and a stream that is stopped is ended so that the clients of the format see an
// error and not a clean end.
package frames
