package ci

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// entry is what is shown whole or not at all.
type entry struct {
	group int // index of the heading that it stands under; -1 for none
	block bool
	text  string        // whole lines
	small func() string // the same by its digest and size
}

// section is a part of a page. Its entries of one group stand in a row.
type section struct {
	title   string
	groups  []string
	entries []entry
}

func (s *section) add(text string, small func() string) {
	s.entries = append(s.entries, entry{group: len(s.groups) - 1, text: text, small: small})
}

func (s *section) addBlock(text string, small func() string) {
	s.add(text, small)
	s.entries[len(s.entries)-1].block = true
}

// page is Markdown that grows by blocks.
type page struct {
	b     strings.Builder
	group int
	block bool
}

// blank sees to it that what follows begins a block of its own.
func (p *page) blank() {
	s := p.b.String()
	switch {
	case s == "", strings.HasSuffix(s, "\n\n"):
	case strings.HasSuffix(s, "\n"):
		p.b.WriteString("\n")
	default:
		p.b.WriteString("\n\n")
	}
}

func (p *page) text(s string) {
	if s != "" {
		p.blank()
		p.b.WriteString(s)
	}
}

func (p *page) begin(s *section) {
	p.text("### " + s.title + "\n\n")
	p.group, p.block = -1, false
}

func (p *page) entry(s *section, e entry) {
	if e.group != p.group {
		p.text(s.groups[e.group] + "\n\n")
		p.group = e.group
	} else if e.block || p.block {
		p.blank()
	}
	p.b.WriteString(e.text)
	p.block = e.block
}

func (p *page) left(gap string) {
	p.text(gap + "\n\n")
	p.block = false
}

// between is what may stand between two blocks.
const between = 4

func (s *section) headCost() int { return len(s.title) + 4 + 2*between }

func (s *section) groupCost(e entry) int {
	if e.group < 0 {
		return 0
	}
	return len(s.groups[e.group]) + between
}

func (e entry) cost() int { return len(e.text) + between }

// bytes is the room of all entries of a section, headings left aside.
func (s *section) bytes() int {
	n := 0
	for _, e := range s.entries {
		n += len(e.text)
	}
	return n
}

// cost is the room that a section needs at most.
func (s *section) cost() int {
	n, group := s.headCost(), -1
	for _, e := range s.entries {
		if n += e.cost(); e.group != group {
			n += s.groupCost(e)
			group = e.group
		}
	}
	return n
}

// document is a page before its room is known.
type document struct {
	head     func(cut bool) string // short, whatever is in the report
	least    func() string         // the head where there is room for nothing else
	sections []section
	foot     string
	gap      func(entries, bytes int) string // the line in place of what is left out
}

// render writes the page within most bytes. Where forced is true, the head is that of
// a page that is not whole.
func (d *document) render(most int, forced bool) Rendered {
	most = max(most, limits.ReportLeast)
	if whole := d.whole(forced); len(whole) <= most {
		return Rendered{Markdown: whole, Cut: forced}
	}
	return Rendered{Markdown: d.cut(most), Cut: true}
}

func (d *document) whole(cut bool) string {
	var p page
	p.text(d.head(cut))
	for i := range d.sections {
		s := &d.sections[i]
		p.begin(s)
		for _, e := range s.entries {
			p.entry(s, e)
		}
	}
	p.text(d.foot)
	return p.b.String()
}

// cut shares the room between the sections: each has what it needs, or as much as
// every other that needs more.
func (d *document) cut(most int) string {
	var p page
	p.text(d.head(true))
	free := most - p.b.Len() - len(d.foot) - 2*between
	needs, rooms := make([]int, len(d.sections)), make([]int, len(d.sections))
	entries, bytes := 0, 0
	for i := range d.sections {
		s := &d.sections[i]
		needs[i] = s.cost()
		rooms[i] = min(needs[i], s.headCost()+len(d.gap(len(s.entries), s.bytes()))+between)
		free -= rooms[i]
		entries, bytes = entries+len(s.entries), bytes+s.bytes()
	}
	if free < 0 { // not even the headings fit
		var p page
		p.text(d.least())
		p.left(d.gap(entries, bytes))
		return p.b.String()
	}
	order := make([]int, len(d.sections))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(needs[a]-rooms[a], needs[b]-rooms[b]) })
	for done, i := range order {
		more := min(needs[i]-rooms[i], free/(len(order)-done))
		rooms[i] += more
		free -= more
	}
	for i := range d.sections {
		d.sections[i].cut(&p, rooms[i], d.gap)
	}
	p.text(d.foot)
	return p.b.String()
}

// cut writes as many entries as fit, from the beginning and from the end.
func (s *section) cut(p *page, room int, gap func(entries, bytes int) string) {
	entries, first, last := s.entries, len(s.entries), len(s.entries)
	if s.cost() > room {
		room -= s.headCost() + len(gap(len(entries), s.bytes())) + between
		entries = s.shrunk(room / 2)
		first, last = s.fitting(entries, room)
	}
	p.begin(s)
	for _, e := range entries[:first] {
		p.entry(s, e)
	}
	if first < last {
		n := 0
		for _, e := range s.entries[first:last] {
			n += len(e.text)
		}
		p.left(gap(last-first, n))
	}
	for _, e := range entries[last:] {
		p.entry(s, e)
	}
}

// shrunk gives the entries with those that are too long for themselves made small.
func (s *section) shrunk(most int) []entry {
	out := slices.Clone(s.entries)
	for i, e := range out {
		if e.cost()+s.groupCost(e) <= most {
			continue
		}
		small := e
		if small.text = e.small(); len(small.text) < len(e.text) {
			out[i] = small
		}
	}
	return out
}

// fitting says how many entries from the beginning and from which one to the end fit.
func (s *section) fitting(entries []entry, room int) (first, last int) {
	last = len(entries)
	front, back := -1, -1 // groups whose headings are counted
	take := func(e entry, counted *int) bool {
		n := e.cost()
		if e.group != *counted {
			n += s.groupCost(e)
		}
		if n > room {
			return false
		}
		room -= n
		*counted = e.group
		return true
	}
	for more := true; more && first < last; {
		more = take(entries[first], &front)
		if more {
			first++
		}
		if first < last && take(entries[last-1], &back) {
			last--
			more = true
		}
	}
	return first, last
}
