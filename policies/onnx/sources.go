package onnx

import (
	"encoding/json"
	"fmt"
	"github.com/cabincrew/action/policies/onnx/inside"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// source is one text that a model reads.
type source struct {
	artifact string
	part     string
	file     string // of a patch
	lines    []addedLine
	open     func() (io.ReadCloser, error)
}

// addedLine is where a line of added text stands.
type addedLine struct {
	offset int64 // in the added text
	line   int64 // in the new file
}

// line gives the number that the line at an offset of added text has in its file, or 0.
func (s source) line(offset int64) int64 {
	i, found := slices.BinarySearchFunc(s.lines, offset, func(l addedLine, at int64) int {
		switch {
		case l.offset < at:
			return -1
		case l.offset > at:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 || i >= len(s.lines) {
		return 0
	}
	return s.lines[i].line
}

// selects says whether a model reads an artifact.
func (r Reads) selects(a policies.Artifact) bool {
	if len(r.Types) > 0 && !slices.Contains(r.Types, a.ArtifactType) || len(r.Roles) > 0 && !slices.Contains(r.Roles, a.Role) {
		return false
	}
	if len(r.MIME) == 0 {
		return true
	}
	mime, _, _ := strings.Cut(strings.ToLower(a.Mime), ";")
	mime = strings.TrimSpace(mime)
	return slices.ContainsFunc(r.MIME, func(want string) bool {
		want = strings.ToLower(want)
		if kind, ok := strings.CutSuffix(want, "/*"); ok {
			return kind == "*" || strings.HasPrefix(mime, kind+"/")
		}
		return want == mime
	})
}

func (r Reads) has(part string) bool { return slices.Contains(r.Parts, part) }

// sources gives the texts of an artifact that a model reads, in an order that
// depends on the input only.
func (r Reads) sources(in policies.Input, a policies.Artifact) ([]source, error) {
	var out []source
	isPatch := a.ArtifactType == patchType
	if isPatch && r.has(PartAdded) {
		files, err := patchFiles(in, a)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if s, ok := addedText(a.Name, f); ok {
				out = append(out, s)
			}
		}
	} else if r.has(PartBody) {
		s, err := bodyText(in, a)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if r.has(PartMetadata) && len(a.Metadata) > 0 {
		text, err := flatten(a.Metadata)
		if err != nil {
			return nil, err
		}
		out = append(out, source{artifact: a.Name, part: PartMetadata, open: text.open})
	}
	return out, nil
}

const patchType = "patch"

// patchFiles gives the files of a patch with all added lines: as the document has
// them, or from the patch itself where the document left some out.
func patchFiles(in policies.Input, a policies.Artifact) ([]policies.PatchFile, error) {
	if a.Patch != nil && !slices.ContainsFunc(a.Patch.Files, func(f policies.PatchFile) bool { return f.Truncated }) {
		return a.Patch.Files, nil
	}
	body, err := openBody(in, a)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	changes, err := patch.Read(body, patch.Limits{Bytes: 2 * limits.OnnxInput})
	if err != nil {
		return nil, unreadable(a, fmt.Sprintf("its patch cannot be read: %v", err))
	}
	views := patch.View(changes, nil, limits.PatchBytes)
	files := make([]policies.PatchFile, len(views))
	for i, v := range views {
		if v.Truncated {
			return nil, unreadable(a, "it has too many lines")
		}
		files[i] = policies.PatchFile{
			Op: v.Op, Path: v.Path, OldPath: v.OldPath, OldMode: v.OldMode, NewMode: v.NewMode, Binary: v.Binary,
			Added: v.Added, Deleted: v.Deleted, AddedLines: v.AddedLines, ExecutableChanged: v.ExecutableChanged,
		}
		for _, h := range v.Hunks {
			hunk := policies.Hunk{OldStart: h.OldStart, NewStart: h.NewStart}
			for _, l := range h.Lines {
				hunk.Lines = append(hunk.Lines, policies.Line(l))
			}
			files[i].Hunks = append(files[i].Hunks, hunk)
		}
	}
	return files, nil
}

// addedText gives the added lines of a file as one text.
func addedText(artifact string, f policies.PatchFile) (source, bool) {
	if len(f.AddedLines) == 0 {
		return source{}, false
	}
	var numbers []int64
	for _, h := range f.Hunks {
		for _, l := range h.Lines {
			if l.Op == "+" {
				numbers = append(numbers, l.Line)
			}
		}
	}
	s := source{artifact: artifact, part: PartAdded, file: f.Path}
	if len(numbers) == len(f.AddedLines) {
		s.lines = make([]addedLine, len(numbers))
		var offset int64
		for i, l := range f.AddedLines {
			s.lines[i] = addedLine{offset, numbers[i]}
			offset += int64(len(l)) + 1
		}
	}
	lines := f.AddedLines
	s.open = func() (io.ReadCloser, error) { return io.NopCloser(&lineReader{lines: lines}), nil }
	return s, true
}

// lineReader reads lines with a newline behind each, without holding them twice.
type lineReader struct {
	lines []string
	at    int // in the first line; its length: at the newline
}

func (l *lineReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(l.lines) == 0 {
			if n == 0 {
				return 0, io.EOF
			}
			break
		}
		if l.at == len(l.lines[0]) {
			p[n] = '\n'
			n++
			l.lines, l.at = l.lines[1:], 0
			continue
		}
		c := copy(p[n:], l.lines[0][l.at:])
		n, l.at = n+c, l.at+c
	}
	return n, nil
}

// bodyText gives an artifact's body as text. JSON that the document holds is read
// as its names and strings, so that no escape hides a word.
func bodyText(in policies.Input, a policies.Artifact) (source, error) {
	s := source{artifact: a.Name, part: PartBody}
	switch body := a.Body.(type) {
	case nil:
		s.open = func() (io.ReadCloser, error) { return openBody(in, a) }
	case string:
		s.open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	default:
		text, err := flatten(body)
		if err != nil {
			return s, err
		}
		s.open = text.open
	}
	return s, nil
}

func openBody(in policies.Input, a policies.Artifact) (io.ReadCloser, error) {
	if body, ok := a.Body.(string); ok {
		return io.NopCloser(strings.NewReader(body)), nil
	}
	if in.Bodies == nil {
		return nil, unreadable(a, "its body is not in the document")
	}
	r, err := in.Bodies.Open(a.Name)
	if err != nil {
		return nil, unreadable(a, fmt.Sprintf("its body cannot be opened: %v", err))
	}
	return r, nil
}

// flat is a document as text: its names and strings, one a line.
type flat struct{ b strings.Builder }

func (f *flat) open() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.b.String())), nil
}

// deepest is how deep documents may be nested that are read as text; what the
// strict reader of the protocol takes is less deep.
const deepest = 1000

// digest is what says nothing to a model: there are many in metadata.
var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func flatten(v any) (*flat, error) {
	f := &flat{}
	if err := f.add(v, 0); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *flat) add(v any, depth int) error {
	if depth > deepest {
		return protocol.Errorf(protocol.ExitDenied, "model_input", "a document is nested deeper than %d", deepest)
	}
	switch v := v.(type) {
	case string:
		if !digest.MatchString(v) {
			f.b.WriteString(v)
			f.b.WriteByte('\n')
		}
	case []any:
		for _, e := range v {
			if err := f.add(e, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			f.b.WriteString(name)
			f.b.WriteString(": ")
			if err := f.add(v[name], depth+1); err != nil {
				return err
			}
		}
		f.b.WriteByte('\n')
	case nil, bool, json.Number, int, int64, float64:
		f.b.WriteByte('\n')
	default:
		return f.other(v, depth)
	}
	return nil
}

// other reads a value of another Go type as the JSON that it becomes.
func (f *flat) other(v any, depth int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return protocol.Errorf(protocol.ExitDenied, "model_input", "a document cannot be written as JSON: %w", err)
	}
	plain, err := protocol.DecodeAny(b)
	if err != nil {
		return protocol.Errorf(protocol.ExitDenied, "model_input", "a document cannot be read as JSON: %w", err)
	}
	return f.add(plain, depth+1)
}

// unreadable says that a model cannot read an artifact. No on_error softens it:
// what nobody has looked at is denied.
func unreadable(a policies.Artifact, why string) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "model_input", "artifact %q cannot be read by models: %s", inside.Short(a.Name), inside.Short(why)).
		WithHint("let the engine make it smaller, or take its type out of the model's reads")
}
