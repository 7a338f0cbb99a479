package frames

import (
	"bytes"
	"strconv"

	"github.com/cabincrew/action/internal/limits"
)

// slot is a value that events of a stream repeat, kept for events that are added.
type slot uint8

const (
	noSlot slot = iota
	slotID
	slotCreated
	slotModel
	slotPrint
	slotItem // one for each output item
	slots
)

// Decoder reads the events of one stream in order.
type Decoder struct {
	format Format
	frame  Frame
	tree   tree
	data   []byte // the document: a part of the event, or joined
	joined []byte
	lines  []line
	name   []byte // the event's, by its own line
	nameAt int
	named  bool
	arena  []byte
	path   []byte
	others map[string]*other

	values  [slots][]byte // literals
	nodes   [slots]int32  // which value of the event fills a slot
	items   map[int][]byte
	tools   map[Lane]string
	deltas  map[Lane]string // by which event a lane of a response is told
	lanes   map[Lane]struct{}
	lately  Lane
	blocks  []int // content blocks that are open
	ended   Terminal
	usage   Usage
	last    int64 // the highest number of an event that was given on
	added   int64 // how many events were added
	counted bool  // events have numbers
}

// line is where a line of data stands in the document and in the event.
type line struct{ data, raw int }

// other is a place where texts of the kind Other stand.
type other struct {
	name string
	last []byte
	seen bool
}

// NewDecoder makes a decoder of one stream.
func NewDecoder(format Format) *Decoder {
	return &Decoder{
		format: format, others: map[string]*other{}, items: map[int][]byte{},
		tools: map[Lane]string{}, deltas: map[Lane]string{}, lanes: map[Lane]struct{}{}, last: -1,
	}
}

// Ended says whether the stream has ended. If it is Open when no more bytes come, the
// stream was cut off, and is no answer.
func (d *Decoder) Ended() Terminal { return d.ended }

// Usage gives the tokens that the server counted so far.
func (d *Decoder) Usage() Usage { return d.usage }

// Decode reads an event: all its lines, with the empty one that ends it.
func (d *Decoder) Decode(event []byte) *Frame {
	f := &d.frame
	*f = Frame{
		Raw: event, d: d, Pieces: f.Pieces[:0], echoes: f.echoes[:0], edits: f.edits[:0],
		finished: f.finished[:0], ends: f.ends[:0],
	}
	if cap(f.Pieces) > limits.LLMEventKept {
		f.Pieces = nil
	}
	if cap(d.joined)+cap(d.arena) > 4*limits.LLMEventKept {
		d.joined, d.arena = nil, nil
	}
	d.arena = d.arena[:0]
	d.nodes = [slots]int32{-1, -1, -1, -1, -1, -1}
	d.split(f)
	if len(d.lines) > 0 && len(bytes.TrimSpace(d.data)) > 0 {
		d.document(f)
	}
	if f.Terminal != Open && d.ended != Failed {
		d.ended = f.Terminal
	}
	f.Usage = d.usage
	return f
}

func (f *Frame) breakWith(what string) {
	if f.Broken == "" {
		f.Broken = what
	}
}

func (d *Decoder) document(f *Frame) {
	if string(d.data) == "[DONE]" {
		switch {
		case d.format == Chat:
			f.Terminal = Done
		case d.ended == Open:
			f.breakWith("an end that the format does not have")
		}
		return
	}
	before := d.ended
	if what := d.tree.parse(d.data); what != "" {
		f.breakWith(what)
		for i, l := range d.lines {
			end := len(d.data)
			if i+1 < len(d.lines) {
				end = d.lines[i+1].data - 1
			}
			d.raw(f, "data", l.raw, l.raw+end-l.data)
		}
		return
	}
	switch d.format {
	case Chat:
		d.chat(f)
	case Responses:
		d.responses(f)
	case Messages:
		d.messages(f)
	default:
		f.breakWith("a format that is not known")
	}
	d.rest(f)
	if before == Done || before == Failed && f.Terminal == Open {
		f.breakWith("an event after the end of the stream")
	}
}

var mark = []byte("\xef\xbb\xbf")

// split reads the lines of an event.
func (d *Decoder) split(f *Frame) {
	d.lines, d.data, d.name, d.named = d.lines[:0], nil, nil, false
	raw := f.Raw
	for at := 0; at < len(raw); {
		end, next := lineEnd(raw, at)
		d.field(f, at, end)
		at = next
	}
	if d.named && word(d.name) == "" && len(d.name) > 0 {
		d.raw(f, "event", d.nameAt, d.nameAt+len(d.name))
	}
}

func lineEnd(raw []byte, at int) (end, next int) {
	end = len(raw)
	if i := bytes.IndexByte(raw[at:], '\n'); i >= 0 {
		end = at + i
	}
	if i := bytes.IndexByte(raw[at:end], '\r'); i >= 0 {
		end = at + i
		if end+1 < len(raw) && raw[end+1] == '\n' {
			return end, end + 2
		}
	}
	return end, end + 1
}

// field reads one line.
func (d *Decoder) field(f *Frame, at, end int) {
	text := f.Raw[at:end]
	if len(text) == 0 {
		return
	}
	if bytes.HasPrefix(text, mark) { // clients differ in what the line is then
		f.breakWith("a byte order mark")
	}
	colon := bytes.IndexByte(text, ':')
	name, from := text, end
	if colon >= 0 {
		name, from = text[:colon], at+colon+1
		if from < end && f.Raw[from] == ' ' {
			from++
		}
	}
	switch string(name) {
	case "data":
		d.add(f.Raw, from, end)
	case "event":
		if d.named {
			f.breakWith("an event with two names")
		}
		d.name, d.nameAt, d.named = f.Raw[from:end], from, true
	case "", "id":
		d.raw(f, "comment", from, end)
	case "retry":
		if len(bytes.Trim(f.Raw[from:end], "0123456789")) > 0 {
			d.raw(f, "comment", from, end)
		}
	default:
		d.raw(f, "comment", at, end)
	}
}

// add adds a line of data to the document.
func (d *Decoder) add(raw []byte, from, end int) {
	switch len(d.lines) {
	case 0:
		d.data = raw[from:end]
		d.lines = append(d.lines, line{0, from})
		return
	case 1:
		d.joined = append(d.joined[:0], d.data...)
	}
	d.joined = append(d.joined, '\n')
	d.lines = append(d.lines, line{len(d.joined), from})
	d.joined = append(d.joined, raw[from:end]...)
	d.data = d.joined
}

// place says where a byte of the document stands in the event.
func (d *Decoder) place(at int) int {
	low, high := 0, len(d.lines)
	for high-low > 1 {
		if mid := (low + high) / 2; d.lines[mid].data <= at {
			low = mid
		} else {
			high = mid
		}
	}
	return d.lines[low].raw + at - d.lines[low].data
}

// raw reports a part of the event that is no JSON.
func (d *Decoder) raw(f *Frame, field string, from, to int) {
	if from < to {
		f.Pieces = append(f.Pieces, Piece{
			Lane: Lane{Kind: Other, Name: ":" + field}, From: from, To: to,
			Text: f.Raw[from:to], Field: field, Raw: true,
		})
	}
}

// piece reports a text that the format has a place for.
func (d *Decoder) piece(f *Frame, lane Lane, i int32, whole bool) bool {
	if !d.tree.is(i, '"') {
		return false
	}
	if lane != d.lately {
		if _, ok := d.lanes[lane]; !ok && len(d.lanes) >= limits.LLMLanes {
			f.breakWith("too many choices, items or calls")
			return false
		}
		d.lanes[lane], d.lately = struct{}{}, lane
	}
	n := &d.tree.nodes[i]
	n.used = true
	p := Piece{Lane: lane, Whole: whole, Text: d.text(i), Field: word(d.tree.key(i))}
	p.From = d.place(int(n.from))
	p.To = p.From + int(n.to-n.from)
	if lane.Kind == Arguments {
		p.Tool = d.tools[lane]
	}
	f.Pieces = append(f.Pieces, p)
	return true
}

func (d *Decoder) text(i int32) []byte {
	inner := d.tree.inner(i)
	if d.tree.nodes[i].escaped {
		return d.unescaped(inner)
	}
	return inner
}

func (d *Decoder) unescaped(inner []byte) []byte {
	from := len(d.arena)
	d.arena = appendText(d.arena, inner)
	return d.arena[from:len(d.arena):len(d.arena)]
}

// echo notes a value that repeats a text in another form.
func (d *Decoder) echo(f *Frame, i int32, empty string) {
	if d.tree.null(i) || string(d.tree.raw(i)) == "[]" {
		return
	}
	n := &d.tree.nodes[i]
	f.echoes = append(f.echoes, span{d.place(int(n.from)), d.place(int(n.to)-1) + 1, empty})
}

// rest reports all texts that the format has no place for.
func (d *Decoder) rest(f *Frame) {
	t := &d.tree
	for i := range int32(len(t.nodes)) { //nolint:gosec // LLMEventValues bounds it
		n := &t.nodes[i]
		if n.parent >= 0 && !n.scoped {
			n.index, n.part = t.nodes[n.parent].index, t.nodes[n.parent].part
		}
		if n.keyTo > n.key && (n.keyEscaped || word(t.data[n.key:n.keyTo]) == "") {
			d.other(f, i, true)
		}
		if n.kind == '"' && !n.used && n.to-n.from > 2 && (n.escaped || word(t.inner(i)) == "") {
			d.other(f, i, false)
		}
	}
}

func (d *Decoder) other(f *Frame, i int32, key bool) {
	t := &d.tree
	n := &t.nodes[i]
	p := Piece{Key: key, Lane: Lane{Index: int(n.index), Part: int(n.part), Kind: Other}}
	from, to, at := int(n.from), int(n.to), i
	if key {
		from, to, at = int(n.key)-1, int(n.keyTo)+1, n.parent
	} else {
		p.Field = word(t.data[n.key:n.keyTo])
	}
	inner := t.data[from+1 : to-1]
	p.From = d.place(from)
	p.To = p.From + to - from
	if p.Text = inner; bytes.IndexByte(inner, '\\') >= 0 {
		p.Text = d.unescaped(inner)
	}
	d.path = append(d.path[:0], f.Type...)
	d.path = d.pathTo(d.path, at)
	if key {
		d.path = append(d.path, "/?"...)
	}
	o := d.others[string(d.path)]
	if o == nil {
		o = &other{name: "*"}
		if len(d.others) < limits.LLMLanes {
			o.name = string(d.path)
			d.others[o.name] = o
		}
	}
	p.Lane.Name, p.place = o.name, o
	if p.Same = o.seen && bytes.Equal(o.last, inner); !p.Same {
		o.seen = len(inner) <= limits.LLMSameBytes
		if o.seen {
			o.last = append(o.last[:0], inner...)
		}
	}
	if !key {
		for s := noSlot + 1; s < slots; s++ {
			if d.nodes[s] == i {
				p.slot = s
			}
		}
	}
	f.Pieces = append(f.Pieces, p)
}

// pathTo appends where a value stands, shortened so that it costs little.
func (d *Decoder) pathTo(dst []byte, i int32) []byte {
	const step, most, nth = 64, 512, 16
	n := &d.tree.nodes[i]
	if n.parent < 0 {
		return dst
	}
	dst = d.pathTo(dst, n.parent)
	if len(dst) > most {
		return dst
	}
	dst = append(dst, '/')
	if d.tree.nodes[n.parent].kind == '[' {
		if n.nth >= nth {
			return append(dst, '+')
		}
		return strconv.AppendInt(dst, int64(n.nth), 10)
	}
	return append(dst, d.tree.data[n.key:min(n.keyTo, n.key+step)]...)
}

// keep keeps the literal of a value for events that are added.
func (d *Decoder) keep(s slot, i int32, index int) {
	if d.tree.null(i) || d.tree.nodes[i].kind == '{' || d.tree.nodes[i].kind == '[' {
		return
	}
	d.nodes[s] = i
	d.fill(s, index, d.tree.raw(i))
}

func (d *Decoder) fill(s slot, index int, literal []byte) {
	if len(literal) > limits.LLMSameBytes {
		literal = nil
	}
	if s != slotItem {
		if !bytes.Equal(d.values[s], literal) {
			d.values[s] = append(d.values[s][:0], literal...)
		}
		return
	}
	if old, ok := d.items[index]; !ok && len(d.items) >= limits.LLMLanes || ok && bytes.Equal(old, literal) {
		return
	}
	d.items[index] = bytes.Clone(literal)
}

// scope says of which lane the texts within a value are.
func (d *Decoder) scope(i int32, index, part int) {
	n := &d.tree.nodes[i]
	n.scoped, n.index, n.part = true, int32(index), int32(part) //nolint:gosec // LLMIndex bounds them
}

// at reads an index.
func (d *Decoder) at(f *Frame, obj int32, name string) int {
	n, ok := d.tree.index(d.tree.get(obj, name))
	if !ok {
		f.breakWith("an index that is none")
		return 0
	}
	return n
}

// tool notes the name of a tool, which may come in parts.
func (d *Decoder) tool(lane Lane, i int32, more bool) {
	name := d.tree.str(i)
	if len(name) == 0 {
		return
	}
	old, ok := d.tools[lane]
	if !ok && len(d.tools) >= limits.LLMLanes {
		return
	}
	if more && ok {
		if len(old)+len(name) <= limits.LLMToolNameBytes {
			d.tools[lane] = old + string(name)
		}
		return
	}
	d.tools[lane] = string(name[:min(len(name), limits.LLMToolNameBytes)])
}

// kind reads and checks what an event of a format with named events is.
func (d *Decoder) kind(f *Frame) []byte {
	typ := d.tree.str(d.tree.get(0, "type"))
	if len(typ) == 0 {
		f.breakWith("an event without a type")
	}
	if d.named && len(d.name) > 0 && !bytes.Equal(d.name, typ) {
		f.breakWith("an event whose name is not its type")
	}
	f.Type = word(typ)
	return typ
}

func (f *Frame) finishes(why []byte) {
	if len(why) == 0 {
		return
	}
	if f.Finish = word(why); f.Finish == "" {
		f.Finish = string(why[:min(len(why), longestWord)])
	}
}

// counts reads what a server says of tokens.
func (d *Decoder) counts(u int32) {
	t := &d.tree
	if !t.is(u, '{') {
		return
	}
	set := func(to *int64, obj int32, names ...string) {
		for _, name := range names {
			if n, ok := t.count(t.get(obj, name)); ok {
				*to, d.usage.Given = n, true
			}
		}
	}
	set(&d.usage.Input, u, "prompt_tokens", "input_tokens")
	set(&d.usage.Output, u, "completion_tokens", "output_tokens")
	set(&d.usage.CacheRead, u, "cache_read_input_tokens")
	set(&d.usage.CacheWrite, u, "cache_creation_input_tokens")
	for _, name := range []string{"prompt_tokens_details", "input_tokens_details"} {
		set(&d.usage.CacheRead, t.get(u, name), "cached_tokens")
	}
	for _, name := range []string{"completion_tokens_details", "output_tokens_details"} {
		set(&d.usage.Reasoning, t.get(u, name), "reasoning_tokens")
	}
}
