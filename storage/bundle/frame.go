package bundle

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/internal/limits"
)

// checkFrame reads the outline of a zstd file: it must be one frame with a checksum,
// a bounded window and no dictionary, and nothing behind it. A decoder would take
// further frames, and skip those that say so.
func checkFrame(r io.ReaderAt, size int64) error {
	first := make([]byte, min(size, zstd.HeaderMaxSize))
	if _, err := r.ReadAt(first, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var h zstd.Header
	if err := h.Decode(first); err != nil {
		return fmt.Errorf("it is not a zstd file: %w", err)
	}
	switch {
	case h.Skippable || h.DictionaryID != 0 || !h.HasCheckSum:
		return errors.New("its zstd frame is not of the kind that archives have")
	case !h.SingleSegment && h.WindowSize > limits.StorageWindow, h.SingleSegment && h.FrameContentSize > limits.StorageWindow:
		return fmt.Errorf("reading it takes a window of more than %d bytes", limits.StorageWindow)
	}
	const checksum = 4
	for at := int64(h.HeaderSize); ; {
		var head [3]byte
		if n, err := r.ReadAt(head[:], at); n < len(head) {
			return fmt.Errorf("it ends early: %w", err)
		}
		block := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
		length := block >> 3
		if block>>1&3 == 1 { // one byte, repeated
			length = 1
		}
		at += int64(len(head)) + length
		if block&1 == 0 {
			continue
		}
		if at+checksum != size {
			return fmt.Errorf("it has %d bytes, its frame %d", size, at+checksum)
		}
		return nil
	}
}
