package frames

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// slot is a value that events of a stream repeat, kept for events that are added.
type slot uint8

const (
	noSlot slot = iota
	slotID
	slotCreated
	slotModel
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
	lanes   map[Lane]struct{}
	lately  Lane
	choices map[int]bool // of a chat; whether it has its finish
	blocks  []int        // content blocks that are open
	stopped bool         // a message said why it stops
	ended   Terminal
	usage   Usage
	last    int64 // the highest number of an event
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
		format: format, others: map[string]*other{}, lanes: map[Lane]struct{}{}, choices: map[int]bool{}, last: -1,
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
		Raw: event, Pieces: f.Pieces[:0], Parts: f.Parts[:0], Echoes: f.Echoes[:0],
		finished: f.finished[:0], ends: f.ends[:0],
	}
	if cap(f.Pieces)+cap(f.Parts) > limits.LLMEventKept {
		f.Pieces, f.Parts = nil, nil
	}
	if cap(d.joined)+cap(d.arena) > 4*limits.LLMEventKept {
		d.joined, d.arena = nil, nil
	}
	d.arena = d.arena[:0]
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
			if d.ended == Open && d.cut() {
				f.breakWith("an end before the answer's end")
			}
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
	d.tree.plain(0)
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
	f.Pieces = append(f.Pieces, p)
	return true
}

// toolName notes the name of a tool in a part of a call.
func (d *Decoder) toolName(f *Frame, p *Part, i int32) {
	name := d.tree.str(i)
	if len(name) > limits.LLMToolNameBytes {
		f.breakWith("a name of a tool that is too long")
		return
	}
	p.Name = string(name)
}

// argument reports the arguments of a call, which stand in one of some members.
func (d *Decoder) argument(f *Frame, lane Lane, id string, obj int32, names []string, whole bool) {
	t := &d.tree
	found := false
	for _, name := range names {
		i := t.get(obj, name)
		if t.null(i) {
			continue
		}
		if found {
			f.breakWith("a call with its arguments in two places")
			return
		}
		found = true
		p := Part{Lane: lane, ID: id, Whole: whole}
		if d.piece(f, lane, i, whole) {
			p.Text = f.Pieces[len(f.Pieces)-1].Text
		} else {
			p.Value = t.raw(i)
		}
		f.Parts = append(f.Parts, p)
	}
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
func (d *Decoder) echo(f *Frame, i int32, empty string, lane Lane) {
	t := &d.tree
	if t.null(i) || string(t.raw(i)) == "[]" {
		return
	}
	n := &t.nodes[i]
	e := Echo{From: d.place(int(n.from)), To: d.place(int(n.to)-1) + 1, Empty: empty}
	if t.is(i, '[') {
		lane.Kind = Text
		e.Odd = !d.echoes(f, i, lane)
	}
	for _, of := range []struct {
		name string
		kind Kind
	}{{"content", Text}, {"refusal", Refusal}} {
		lane.Kind = of.kind
		if list := t.get(i, of.name); !t.null(list) && !d.echoes(f, list, lane) {
			e.Odd = true
		}
	}
	f.Echoes = append(f.Echoes, e)
}

// echoes says that the tokens in a list are the text that the event adds to a lane.
func (d *Decoder) echoes(f *Frame, list int32, lane Lane) bool {
	t := &d.tree
	var text []byte
	for _, p := range f.Pieces {
		if p.Lane == lane {
			text = append(text, p.Text...)
		}
	}
	for c := t.first(list); c >= 0; c = t.next(list, c) {
		token := t.get(c, "token")
		rest, ok := bytes.CutPrefix(text, t.str(token))
		if !ok || !t.is(token, '"') {
			return false
		}
		t.nodes[token].used = true
		text = rest
	}
	return len(text) == 0
}

// rest reports all texts that the format has no place for.
func (d *Decoder) rest(f *Frame) {
	t := &d.tree
	// Events that are not known may be such that clients put together.
	joins := f.Type == "" || strings.HasSuffix(f.Type, "delta")
	for i := range int32(len(t.nodes)) { //nolint:gosec // LLMEventValues bounds it
		n := &t.nodes[i]
		plain := false
		if n.parent >= 0 {
			parent := &t.nodes[n.parent]
			n.grows, plain = n.grows || parent.grows, parent.plain
			if !n.scoped {
				n.index, n.part = parent.index, parent.part
			}
		}
		if n.keyTo > n.key && (n.keyEscaped || word(t.data[n.key:n.keyTo]) == "") {
			d.other(f, i, true)
		}
		if n.kind != '"' || n.used || n.to-n.from <= 2 {
			continue
		}
		own := plain && hasOwnValue(word(t.data[n.key:n.keyTo]))
		if (own || !joins) && !n.escaped && word(t.inner(i)) != "" {
			continue
		}
		p := d.other(f, i, false)
		// What grows is put together even if it is the same; elsewhere the same is a
		// repetition.
		p.Joined = joins && !own && (n.grows || !p.Same)
	}
}

// hasOwnValue says that a member of the format has a value of its own in each event.
func hasOwnValue(field string) bool {
	switch field {
	case "id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "service_tier", "obfuscation", "item_id", "call_id",
		"request_id", "previous_response_id", "status", "event", "stop_reason", "name":
		return true
	}
	return false
}

func (d *Decoder) other(f *Frame, i int32, key bool) *Piece {
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
	p.Lane.Name = o.name
	if p.Same = o.seen && bytes.Equal(o.last, inner); !p.Same {
		o.seen = len(inner) <= limits.LLMSameBytes
		if o.seen {
			o.last = append(o.last[:0], inner...)
		}
	}
	f.Pieces = append(f.Pieces, p)
	return &f.Pieces[len(f.Pieces)-1]
}

// pathTo appends where a value stands, shortened so that it costs little.
func (d *Decoder) pathTo(dst []byte, i int32) []byte {
	const step, most = 64, 512
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
		if at := d.tree.get(i, "index"); at >= 0 { // clients go by it
			raw := d.tree.raw(at)
			return append(append(dst, '#'), raw[:min(len(raw), step)]...)
		}
		return strconv.AppendInt(dst, int64(n.nth), 10)
	}
	return append(dst, d.tree.data[n.key:min(n.keyTo, n.key+step)]...)
}

// keep keeps the literal of a value for events that are added.
func (d *Decoder) keep(s slot, i int32) {
	if d.tree.null(i) || d.tree.nodes[i].kind == '{' || d.tree.nodes[i].kind == '[' {
		return
	}
	literal := d.tree.raw(i)
	if len(literal) > limits.LLMSameBytes {
		literal = nil
	}
	if !bytes.Equal(d.values[s], literal) {
		d.values[s] = append(d.values[s][:0], literal...)
	}
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
