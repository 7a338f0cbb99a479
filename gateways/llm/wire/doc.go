// Package wire reads whole requests to models and whole answers of theirs, in the formats
// of their vendors: chat completions, responses, embeddings and the list of models of
// OpenAI's form, messages and the counting of their tokens of Anthropic's, and rerank. It
// is pure: bytes go in and bytes come out.
//
// It promises: it reads strictly, and refuses what two readers could read in two ways; no
// text is passed over, whether the format names its place or not, names of members
// included; and what it changes is changed in place, so that all other bytes stay as they
// came.
package wire
