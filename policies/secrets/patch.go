package secrets

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/policies"
)

// patchText is the text of one file of a patch as it is afterwards, as far as the
// patch shows it: added lines with the unchanged ones around them, which may
// complete a secret.
type patchText struct {
	text    []byte
	starts  []int   // where lines begin
	numbers []int64 // of the lines
	added   []bool
	deleted []byte
}

func (p *patchText) line(op byte, number int64, text string) {
	if op == '-' {
		p.deleted = append(append(p.deleted, text...), '\n')
		return
	}
	p.starts, p.numbers, p.added = append(p.starts, len(p.text)), append(p.numbers, number), append(p.added, op == '+')
	p.text = append(append(p.text, text...), '\n')
}

// at gives the index of the line of a place.
func (p *patchText) at(place int) int {
	i, found := slices.BinarySearch(p.starts, place)
	if !found {
		i--
	}
	return max(0, i)
}

func (p *patchText) place(at int) (line, column int64) {
	i := p.at(at)
	return p.numbers[i], int64(at - p.starts[i] + 1)
}

// touches says whether an added line has any of these bytes.
func (p *patchText) touches(from, to int) bool {
	return slices.Contains(p.added[p.at(from):p.at(max(from, to-1))+1], true)
}

// file looks through one file of a patch.
func (c *scan) file(ctx context.Context, path string, p *patchText) error {
	if slices.Contains(p.added, true) {
		src := source{file: path, part: PartAdded, guess: path, place: p.place, keep: p.touches}
		if err := c.text(ctx, &src, p.text); err != nil {
			return err
		}
	}
	if c.values.Empty() || len(p.deleted) == 0 {
		return nil
	}
	return c.text(ctx, &source{file: path, part: PartDeleted, plain: true}, p.deleted)
}

// patch looks through a patch: by its view if that is whole, else by its bytes.
func (c *scan) patch(ctx context.Context, in *policies.Input, a *policies.Artifact) error {
	whole := true
	for i := range a.Patch.Files {
		f := &a.Patch.Files[i]
		whole = whole && !f.Truncated && !f.Binary
		if err := c.path(ctx, f.Op, f.Path); err != nil {
			return err
		}
	}
	if !whole {
		return c.rawPatch(ctx, in, a)
	}
	for i := range a.Patch.Files {
		f := &a.Patch.Files[i]
		p, err := viewText(f)
		if err != nil {
			return err
		}
		if err := c.file(ctx, f.Path, p); err != nil {
			return err
		}
	}
	return nil
}

// path looks at the name of a file.
func (c *scan) path(ctx context.Context, op, name string) error {
	if op == string(patch.Delete) {
		return nil
	}
	for _, i := range c.w.s.e.pathRules {
		if r := c.w.s.e.rules[i]; r.path().MatchString(name) {
			src := source{file: name, part: PartPath}
			c.add(&src, &layer{origin: func(at int) int { return at }}, 0, Match{
				Rule: r.ID, Fingerprint: Fingerprint(r.ID, name), Entropy: "0.00", description: r.Description,
			})
		}
	}
	return c.short(ctx, source{file: name, part: PartPath}, []byte(name))
}

// rawPatch looks through the bytes of a patch.
func (c *scan) rawPatch(ctx context.Context, in *policies.Input, a *policies.Artifact) error {
	if in.Bodies == nil {
		return tooMuch("the patch is not here as a whole")
	}
	body, err := in.Bodies.Open(a.Name)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was read only
	data, err := io.ReadAll(io.LimitReader(body, min(c.left, limits.PatchBytes)+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > min(c.left, limits.PatchBytes) {
		return tooMuch("the patch is larger than what may be looked through")
	}
	changes, err := patch.Read(bytes.NewReader(data), patch.Limits{})
	if err != nil {
		return err
	}
	for i := range changes {
		ch := &changes[i]
		if ch.Binary {
			if err := c.binary(ctx, ch); err != nil {
				return err
			}
		}
		if err := c.file(ctx, ch.Path(), hunkText(ch)); err != nil {
			return err
		}
	}
	return nil
}

// binary looks through the new content of a binary file. Of a delta there is only
// what it inserts; what it takes over from the old content may complete a secret, so
// that is told.
func (c *scan) binary(ctx context.Context, ch *patch.Change) error {
	switch {
	case ch.Op == patch.Delete:
		return nil
	case ch.Forward == nil:
		return tooMuch("the content of a binary file is missing").At(ch.Path())
	}
	src := source{file: ch.Path(), part: PartBinary, guess: ch.Path()}
	if !ch.Forward.Delta {
		content, err := ch.Forward.Open()
		if err != nil {
			return err
		}
		return c.reader(ctx, src, content)
	}
	inserted, whole, err := ch.Forward.Inserted()
	if err != nil {
		return err
	}
	if !whole {
		c.add(&src, &layer{origin: func(at int) int { return at }}, 0, Match{Rule: RuleDelta})
	}
	return c.short(ctx, src, inserted)
}

// hunkText gives the text of a file of a patch that was read.
func hunkText(ch *patch.Change) *patchText {
	p := &patchText{}
	for i, h := range ch.Hunks {
		if i > 0 {
			p.line(' ', 0, "")
		}
		number := int64(h.NewStart)
		for _, l := range h.Lines {
			p.line(l.Kind, number, strings.TrimSuffix(string(l.Text), "\n"))
			if l.Kind != '-' {
				number++
			}
		}
	}
	return p
}

// viewText gives the text of a file of a patch's view.
func viewText(f *policies.PatchFile) (*patchText, error) {
	p := &patchText{}
	for i, h := range f.Hunks {
		if i > 0 {
			p.line(' ', 0, "")
		}
		for _, l := range h.Lines {
			if l.Op == "" {
				return nil, tooMuch("a line of the patch says neither that it is added nor that it is not")
			}
			p.line(l.Op[0], l.Line, l.Text)
		}
	}
	if len(f.Hunks) == 0 { // a view without places
		for _, l := range f.AddedLines {
			p.line('+', 0, l)
		}
		for _, l := range f.DeletedLines {
			p.line('-', 0, l)
		}
	}
	return p, nil
}
