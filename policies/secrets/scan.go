package secrets

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// scan is one search, over all artifacts of a step for example.
type scan struct {
	w        *worker
	values   *redact.Redactor
	baseline *Baseline
	left     int64 // bytes that may still be read
	expand   int64 // bytes that may still be decoded
	matches  []Match
	seen     map[Match]bool
	full     bool // there are more than limits.SecretFindings matches
	known    int  // matches of the baseline
	hidden   policies.Hidden
	room     int // bytes that hidden may still grow by
	// spot, if not nil, is told of everything that is found and not known, with its place
	// in the source's text.
	spot func(s spotted)
	// before are the keywords in what stood before the text, see scanner.before.
	before []int
	inLine bool // the text does not begin with a line
}

// spotted is something that was found.
type spotted struct {
	rule, fingerprint string
	secret            string // the name of a mapped value
	encoding          string
	from, to          int
	guessed           bool
}

// worker is what a search needs and the next one can use again.
type worker struct {
	s        *scanner
	decoders [limits.SecretDepth]decoder
	dfas     *dfas // of streams; made when first needed
}

// source says of a text what its places are.
type source struct {
	file, part string
	// guess is the path for rules that look at it; usually the file.
	guess string
	// place gives line and column; nil if there are none.
	place func(at int) (line, column int64)
	// keep says whether a match there counts; nil for all.
	keep func(from, to int) bool
	// text is what is looked through.
	text []byte
	// plain leaves out the rules and looks for mapped values only.
	plain bool
}

// layer is a text with what was covered off around it.
type layer struct {
	text     []byte
	lo, hi   int // matches must touch these bytes
	depth    int
	wide     bool // it was UTF-16
	encoding string
	origin   func(int) int // the place in the source's text
}

// text looks through one text.
func (c *scan) text(ctx context.Context, src *source, text []byte) error {
	if c.left -= int64(len(text)); c.left < 0 {
		return tooMuch("there are more than the allowed bytes to look through")
	}
	c.expand += limits.SecretExpansion * int64(len(text))
	var ranges []covered
	src.text = text
	return c.layer(ctx, src, &ranges, layer{text: text, hi: len(text), origin: func(at int) int { return at }})
}

// covered is a place of the source's text that a rule found.
type covered struct {
	window
	rule *rule
}

// maxCovered is how many such places are kept for one text: beyond, a secret may
// be told twice.
const maxCovered = 2 * limits.SecretFindings

func (c *scan) layer(ctx context.Context, src *source, ranges *[]covered, l layer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.values.Find(l.text, func(name string, from, to int) {
		if from < l.hi && to > l.lo && src.keeps(&l, from, to) {
			c.add(src, &l, from, Match{Rule: RuleValue, Secret: name})
			c.spots(src, &l, spotted{rule: RuleValue, secret: name}, from, to)
		}
	})
	if c.full {
		return tooMuch("there are more than %d findings", limits.SecretFindings)
	}
	if src.plain {
		return nil
	}
	c.w.s.before, c.w.s.inLine = nil, false
	if l.depth == 0 && !l.wide {
		c.w.s.before, c.w.s.inLine = c.before, c.inLine
	}
	found, err := c.w.s.rules(ctx, l.text, src.guess)
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.from >= l.hi || f.to <= l.lo || !src.keeps(&l, f.from, f.to) {
			continue
		}
		at := covered{window{l.origin(f.from), l.origin(f.to)}, f.rule}
		if l.depth > 0 && slices.ContainsFunc(*ranges, func(w covered) bool {
			return w.from < at.to && at.from < w.to && (f.rule.generic || w.rule == f.rule)
		}) {
			continue // it was found without decoding, or by a rule that knows what it is
		}
		if len(*ranges) < maxCovered {
			*ranges = append(*ranges, at)
		}
		mark := Fingerprint(f.rule.ID, f.secret)
		c.hide(src, &l, &f, mark)
		c.spots(src, &l, spotted{rule: f.rule.ID, fingerprint: mark, guessed: f.rule.generic}, f.at, f.at+len(f.secret))
		c.add(src, &l, f.at, Match{
			Rule: f.rule.ID, Fingerprint: mark,
			Entropy: strconv.FormatFloat(f.entropy, 'f', 2, 64), description: f.rule.Description,
		})
	}
	if c.full {
		return tooMuch("there are more than %d findings", limits.SecretFindings)
	}
	return c.decoded(ctx, src, ranges, &l)
}

// decoded looks through what is encoded in a layer. UTF-16 is not counted as an
// encoding around a secret: texts in it are as plain as others.
func (c *scan) decoded(ctx context.Context, src *source, ranges *[]covered, l *layer) (err error) {
	look := func(p piece, next layer) bool {
		if c.expand -= int64(len(p.text)); c.expand < 0 {
			err = tooMuch("what is encoded in it grows too large when it is decoded")
			return false
		}
		next.text, next.lo, next.hi, next.encoding = p.text, p.lo, p.hi, p.encoding
		if l.encoding != "" {
			next.encoding = l.encoding + ">" + p.encoding
		}
		next.origin = func(at int) int { return l.origin(p.origin(at)) }
		err = c.layer(ctx, src, ranges, next)
		return err == nil
	}
	if !l.wide && !wide(l.text, l.lo, l.hi, func(p piece) bool { return look(p, layer{depth: l.depth, wide: true}) }) || l.depth == limits.SecretDepth {
		return err
	}
	c.w.decoders[l.depth].pieces(l.text, l.lo, l.hi, func(p piece) bool { return look(p, layer{depth: l.depth + 1}) })
	return err
}

func (s *source) keeps(l *layer, from, to int) bool {
	return s.keep == nil || s.keep(l.origin(from), l.origin(to))
}

// add notes a match at a place of a layer, once.
func (c *scan) add(src *source, l *layer, at int, m Match) {
	m.File, m.Part, m.Encoding = src.file, src.part, l.encoding
	if src.place != nil {
		m.Line, m.Column = src.place(l.origin(at))
	}
	same := Match{Rule: m.Rule, Secret: m.Secret, Fingerprint: m.Fingerprint, File: m.File, Line: m.Line}
	if m.Part == PartReceipt {
		same.File = "" // it repeats what artifacts say
	}
	if c.seen[same] {
		return
	}
	c.seen[same] = true
	same.File, same.Line = "", 0
	c.seen[same] = true
	switch {
	case m.Rule != RuleValue && c.baseline.knows(&m):
		c.known++
	case len(c.matches) >= limits.SecretFindings:
		c.full = true
	default:
		c.matches = append(c.matches, m)
	}
}

// found gives the matches from an index on, by file and place.
func (c *scan) found(from int) []Match {
	list := c.matches[from:]
	slices.SortStableFunc(list, func(a, b Match) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Rule, b.Rule))
	})
	return list
}

// tooMuch is the error of what goes beyond a bound.
func tooMuch(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "secrets_unjudged", format, args...).
		WithHint("make artifacts smaller, or leave out of them what nobody has to judge")
}
