package limits

import "time"

// Bounds of the event streams of models.
const (
	// LLMEventBytes is the size of one event of a stream, in bytes. The last event of a
	// response repeats all of it; clients of the format read up to 32 MiB.
	LLMEventBytes = 8 << 20
	// LLMEventValues is how many values one event may have; it bounds memory.
	LLMEventValues = 1 << 19
	// LLMEventDepth is how deep the values of an event may nest.
	LLMEventDepth = 64
	// LLMEventKept is how much memory of one kind a stream keeps from event to event, in bytes or values.
	LLMEventKept = 4096
	// LLMLanes is how many lanes, items, blocks or names of fields one stream may have of each.
	LLMLanes = 1024
	// LLMIndex is the highest index of a choice, item, block or call.
	LLMIndex = 1 << 16
	// LLMSameBytes is the length of a field that is remembered to see that it repeats, in bytes.
	LLMSameBytes = 256
	// LLMToolNameBytes is the length of the name of a tool, in bytes.
	LLMToolNameBytes = 1024
	// LLMLetGo is how many undecided bytes of a text may go on when another one speaks.
	LLMLetGo = 12
	// LLMLetGoWords is that for bytes that are nothing but words.
	LLMLetGoWords = 32
	// LLMDrain is how long the end of a connection is waited for behind the end of an answer.
	LLMDrain = 50 * time.Millisecond
	// LLMMedia is the size from which data without a space in a member for data is no text, in bytes.
	LLMMedia = 512
)
