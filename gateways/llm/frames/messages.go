package frames

import (
	"slices"
	"strings"

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
		t.plain(m)
		if content := t.get(m, "content"); !t.null(content) && t.first(content) >= 0 || t.is(content, '"') && len(t.inner(content)) > 0 {
			f.breakWith("a message that has content before its blocks")
		}
		d.keep(slotID, t.get(m, "id"))
		d.keep(slotModel, t.get(m, "model"))
		d.counts(t.get(m, "usage"))
	case "content_block_start":
		d.opens(f, index)
		block := t.get(0, "content_block")
		d.block(f, block, index)
		if kind := string(t.str(t.get(block, "type"))); strings.HasSuffix(kind, "tool_use") {
			p := Part{Lane: Lane{Index: index, Kind: Arguments}, Kind: kind}
			d.toolName(f, &p, t.get(block, "name"))
			f.Parts = append(f.Parts, p)
			d.argument(f, p.Lane, "", block, []string{"input"}, false)
		}
	case "content_block_delta":
		delta := t.get(0, "delta")
		d.block(f, delta, index)
		d.argument(f, Lane{Index: index, Kind: Arguments}, "", delta, []string{"partial_json"}, false)
		if delta >= 0 {
			t.nodes[delta].grows = true
		}
	case "content_block_stop":
		f.finished = append(f.finished, index)
		if i := slices.Index(d.blocks, index); i >= 0 {
			d.blocks = slices.Delete(d.blocks, i, i+1)
		}
	case "message_delta":
		d.counts(t.get(0, "usage"))
		delta := t.get(0, "delta")
		t.plain(delta)
		f.finishes(t.str(t.get(delta, "stop_reason")))
		d.stopped = d.stopped || f.Finish != ""
	case "message_stop":
		f.Terminal = Done
		if len(d.blocks) > 0 || !d.stopped {
			f.breakWith("an end before the answer's end")
		}
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
	t.plain(block)
	d.piece(f, Lane{Index: index, Kind: Text}, t.get(block, "text"), false)
	d.piece(f, Lane{Index: index, Kind: Reasoning}, t.get(block, "thinking"), false)
}
