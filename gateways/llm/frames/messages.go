package frames

import (
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

func (d *Decoder) messages(f *Frame) {
	t := &d.tree
	typ := d.kind(f)
	index := d.at(f, 0, "index")
	d.scope(0, index, 0)
	switch string(typ) {
	case "message_start":
		m := t.get(0, "message")
		d.keep(slotID, t.get(m, "id"), 0)
		d.keep(slotModel, t.get(m, "model"), 0)
		d.counts(t.get(m, "usage"))
	case "content_block_start":
		d.opens(f, index)
		d.block(f, t.get(0, "content_block"), index)
	case "content_block_delta":
		d.block(f, t.get(0, "delta"), index)
	case "content_block_stop":
		f.finished = append(f.finished, index)
		if i := slices.Index(d.blocks, index); i >= 0 {
			d.blocks = slices.Delete(d.blocks, i, i+1)
		}
	case "message_delta":
		d.counts(t.get(0, "usage"))
		f.finishes(t.str(t.get(t.get(0, "delta"), "stop_reason")))
	case "message_stop":
		f.Terminal = Done
	case "error":
		f.Terminal = Failed
	}
}

func (d *Decoder) opens(f *Frame, index int) {
	if slices.Contains(d.blocks, index) {
		return
	}
	if len(d.blocks) >= limits.LLMLanes {
		f.breakWith("too many open content blocks")
		return
	}
	d.blocks = append(d.blocks, index)
}

// block reads the texts of a content block at its start, where they are mostly empty,
// and of what is added to it.
func (d *Decoder) block(f *Frame, block int32, index int) {
	t := &d.tree
	calls := Lane{Index: index, Kind: Arguments}
	d.tool(calls, t.get(block, "name"), false)
	d.piece(f, Lane{Index: index, Kind: Text}, t.get(block, "text"), false)
	d.piece(f, calls, t.get(block, "partial_json"), false)
	d.piece(f, Lane{Index: index, Kind: Reasoning}, t.get(block, "thinking"), false)
}
