package patch

import (
	"bytes"
	"strings"
)

// FileView is one file of a patch in the form in which policies see it. Its lines
// have no newlines.
type FileView struct {
	Op                       string
	Path, OldPath            string
	OldMode, NewMode         string
	Binary                   bool
	Added, Deleted           int64
	AddedLines, DeletedLines []string
	Truncated                bool  // lines are missing
	LongestLine              int64 // bytes of the longest line that is written; 0 of what is no text
	ExecutableChanged        bool
	Hunks                    []HunkView
}

// HunkView is one hunk with its lines.
type HunkView struct {
	OldStart, NewStart int64
	Lines              []LineView
}

// LineView is one line: "+", "-" or " ", its number in the new file (of a deleted
// one, in the old file), and its text.
type LineView struct {
	Op   string
	Line int64
	Text string
}

// lineCost is what a line counts for beyond its text, so that many empty ones have
// a bound too.
const lineCost = 64

// View gives a patch in the form in which policies see it. All lines together are
// held to maxBytes, each counted with lineCost more. meta may be nil.
func View(changes []Change, meta []File, maxBytes int) []FileView {
	out := make([]FileView, 0, len(changes))
	for i := range changes {
		c := &changes[i]
		f := c.File
		if i < len(meta) && f.OldMode == "" && f.NewMode == "" { // a rename, whose mode only the metadata names
			f.OldMode, f.NewMode = meta[i].OldMode, meta[i].NewMode
		}
		v := FileView{
			Op: string(f.Op), Path: f.Path(), OldPath: f.OldPath, OldMode: f.OldMode, NewMode: f.NewMode, Binary: f.Binary,
			Added: int64(f.Added), Deleted: int64(f.Deleted), ExecutableChanged: executableChanged(&f),
		}
		for _, h := range c.Hunks {
			maxBytes = v.hunk(h, maxBytes)
		}
		v.LongestLine = c.longestLine()
		out = append(out, v)
	}
	return out
}

// hunk adds a hunk and gives how many bytes are left.
func (v *FileView) hunk(h Hunk, left int) int {
	out := HunkView{OldStart: int64(h.OldStart), NewStart: int64(h.NewStart)}
	was, is := out.OldStart, out.NewStart
	for _, l := range h.Lines {
		if left -= len(l.Text) + lineCost; left < 0 || v.Truncated {
			v.Truncated, left = true, 0
			break
		}
		text := strings.ToValidUTF8(strings.TrimSuffix(string(l.Text), "\n"), "\ufffd")
		line := LineView{Op: string(l.Kind), Line: is, Text: text}
		switch l.Kind {
		case '+':
			v.AddedLines = append(v.AddedLines, text)
			is++
		case '-':
			v.DeletedLines = append(v.DeletedLines, text)
			line.Line = was
			was++
		default:
			was, is = was+1, is+1
		}
		out.Lines = append(out.Lines, line)
	}
	v.Hunks = append(v.Hunks, out)
	return left
}

// executableChanged says whether an execute bit comes or goes, or whether an
// executable file gets other content.
func executableChanged(f *File) bool {
	was, is := f.OldMode == ModeExecutable, f.NewMode == ModeExecutable
	return was != is || was && (f.Op != Rename || f.Added+f.Deleted > 0 || f.Binary)
}

// longestLine gives the length of the longest line that the change writes. Content
// that stands there as binary may be a text that is too large to be shown by lines.
func (c *Change) longestLine() int64 {
	longest := 0
	for _, h := range c.Hunks {
		for _, l := range h.Lines {
			if l.Kind == '+' {
				longest = max(longest, len(bytes.TrimSuffix(l.Text, []byte("\n"))))
			}
		}
	}
	if c.Forward == nil {
		return int64(longest)
	}
	text, err := c.Forward.text()
	if err != nil || text.Binary {
		return 0 // Read has inflated it before; a judge of content reads it again and says so
	}
	return text.LongestLine
}

// text looks at what a block holds. Of a delta that is what it inserts.
func (b *Binary) text() (Text, error) {
	if b.Delta {
		inserted, _, err := b.Inserted()
		if err != nil {
			return Text{}, err
		}
		return Look(bytes.NewReader(inserted))
	}
	r, err := b.Open()
	if err != nil {
		return Text{}, err
	}
	return Look(r)
}
