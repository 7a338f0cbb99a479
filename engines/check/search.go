package check

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// fact is something that the engine's results must not hold.
type fact struct {
	name  string
	forms []string // how programs write it; upper and lower case do not count
	whole bool     // only where it is not part of a longer word or number
	weak  bool     // it may be there by chance
	near  []string // words beside which a weak one that is short counts
}

// text is something that is searched.
type text struct {
	where string
	data  []byte
}

// hit is a fact in a text.
type hit struct {
	where  string
	offset int
	form   string // as it stands there
	fact   fact
}

func (h hit) String() string {
	be := "is"
	if h.fact.weak {
		be = "may be"
	}
	return fmt.Sprintf("%s, byte %d: %q %s %s", h.where, h.offset, h.form, be, h.fact.name)
}

// found adds what a search found: a fail, or a warning where chance may be at work.
func (b *bench) found(id string, hits []hit) {
	const most = 5
	status, lines := Warn, []string{}
	for _, h := range hits {
		if !h.fact.weak {
			status = Fail
		}
	}
	// What is sure first.
	slices.SortStableFunc(hits, func(x, y hit) int {
		switch {
		case x.fact.weak == y.fact.weak:
			return 0
		case y.fact.weak:
			return -1
		}
		return 1
	})
	for _, h := range hits[:min(len(hits), most)] {
		lines = append(lines, h.String())
	}
	if more := len(hits) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	b.addf(id, status, "%s", strings.Join(lines, "\n"))
}

// given is everything that the engine could have copied: what happens to look like
// a fact there is none. Programs hold every short number, so these count only for
// what is long.
type given struct {
	texts    []text
	programs []text
}

// short is the length up to which a form occurs in programs by chance.
const short = 8

func (g given) has(f fact, form string) bool {
	in := func(list []text) bool {
		return slices.ContainsFunc(list, func(t text) bool { _, ok := f.in(t.data, form); return ok })
	}
	return in(g.texts) || len(form) > short && in(g.programs)
}

// given reads what the engine was given.
func (b *bench) given() (given, error) {
	var g given
	for _, f := range b.files {
		if f.Size > limits.CheckSearch {
			continue
		}
		data, err := readSome(filepath.Join(b.source, filepath.FromSlash(f.Path)))
		if err != nil && !os.IsNotExist(err) { // a link may lead nowhere
			return g, err
		}
		g.add([]byte(f.Path))
		g.add(data)
	}
	for _, f := range b.o.Files {
		data, err := readSome(f.Source)
		if err != nil {
			return g, err
		}
		g.add(data)
	}
	if len(b.o.Argv) > 0 && filepath.IsAbs(b.o.Argv[0]) {
		if data, err := readSome(b.o.Argv[0]); err == nil { // where it cannot be read, it still can be run
			g.add(data)
		}
	}
	if config, err := protocol.Canonical(b.o.Config); err == nil { // settings with fractions have none
		g.add(config)
	}
	return g, nil
}

func (g *given) add(data []byte) {
	t := text{data: lowered(data)}
	if bytes.IndexByte(data, 0) >= 0 {
		g.programs = append(g.programs, t)
		return
	}
	g.texts = append(g.texts, t)
}

// evidence reads the first plan's.
func (b *bench) evidence() ([]text, error) {
	var out []text
	for _, a := range b.first.withRole(protocol.RoleEvidence) {
		list, err := b.first.texts(a)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// texts gives an artifact's description and body.
func (p plan) texts(a engines.Artifact) ([]text, error) {
	out := []text{{"artifact " + a.Name + ", " + engines.DescriptionFile, a.Raw}}
	if a.BodyDigest == "" {
		return out, nil
	}
	body, err := readSome(p.body(a))
	return append(out, text{"artifact " + a.Name + ", " + quoted(a.Description.BodyFile), body}), err
}

// search finds facts in texts that are not in what was given, each once.
func search(texts []text, facts []fact, given given) []hit {
	lower := make([][]byte, len(texts))
	for i, t := range texts {
		lower[i] = lowered(t.data)
	}
	var out []hit
	for _, f := range facts {
		if h, ok := first(texts, lower, f, given); ok && !slices.ContainsFunc(out, h.within) {
			out = append(out, h)
		}
	}
	return out
}

// within says whether a hit is a part of another, as the year is of a date.
func (h hit) within(other hit) bool {
	return h.where == other.where && h.offset >= other.offset && h.offset+len(h.form) <= other.offset+len(other.form)
}

func first(texts []text, lower [][]byte, f fact, given given) (hit, bool) {
	for i, t := range texts {
		for _, form := range f.forms {
			low := string(lowered([]byte(form)))
			at, ok := f.in(lower[i], low)
			if ok && !given.has(f, low) {
				return hit{t.where, at, string(t.data[at : at+len(form)]), f}, true
			}
		}
	}
	return hit{}, false
}

// in finds a form in a text; both are in lower case.
func (f fact) in(data []byte, form string) (int, bool) {
	if form == "" {
		return 0, false
	}
	for from := 0; ; {
		n := bytes.Index(data[from:], []byte(form))
		if n < 0 {
			return 0, false
		}
		at := from + n
		if (!f.whole || alone(data, at, at+len(form))) && (!f.weak || f.likely(data, at, at+len(form))) {
			return at, true
		}
		from = at + 1
	}
}

// alone says whether a word or number ends at both ends of a range.
func alone(data []byte, from, to int) bool {
	at := func(i int) byte {
		if i < 0 || i >= len(data) {
			return ' '
		}
		return data[i]
	}
	joins := func(c, beyond byte) bool {
		return isWord(c) || (c == '.' || c == ',') && isDigit(beyond)
	}
	return !joins(at(from-1), at(from-2)) && !joins(at(to), at(to+1))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'z' || c == '_' || c >= 0x80 }

// likely says whether a form that is there may be more than chance: a number of one
// or two digits is everywhere, and counts only as a line of its own or beside a word
// that speaks of the fact.
func (f fact) likely(data []byte, from, to int) bool {
	const (
		small    = 2
		vicinity = 24 // bytes
	)
	if to-from > small {
		return true
	}
	start := bytes.LastIndexByte(data[:from], '\n') + 1
	end := len(data)
	if n := bytes.IndexByte(data[to:], '\n'); n >= 0 {
		end = to + n
	}
	if len(bytes.TrimSpace(data[start:end])) == to-from {
		return true
	}
	around := data[max(start, from-vicinity):min(end, to+vicinity)]
	return slices.ContainsFunc(f.near, func(word string) bool { return bytes.Contains(around, []byte(word)) })
}

// lowered changes ASCII only, so that offsets stay.
func lowered(data []byte) []byte {
	out := bytes.Clone(data)
	for i, c := range out {
		if c >= 'A' && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

func readSome(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // of the sample, the engine or our own copies
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, limits.CheckSearch))
}
