package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// lineKind is what a line of an artifact is, also the name of its style.
type lineKind string

const (
	lineFile    lineKind = "file"
	lineHunk    lineKind = "hunk"
	lineAdd     lineKind = "add"
	lineDelete  lineKind = "del"
	lineContext lineKind = "ctx"
	lineNote    lineKind = "note"
)

// shownLine is one line of an artifact. Text is foreign and not yet harmless.
type shownLine struct {
	Kind lineKind
	Text string
}

// artifactView is an artifact as people see it.
type artifactView struct {
	orchestrator.SummaryArtifact
	Type, Action, Target string
	Files                []patch.File // of a patch
	Lines                []shownLine
	LeftOut              int    // lines that are not in Lines
	Problem              string // why it cannot be shown
	Told                 bool   // a built-in engine only tells again in it what its patch does
}

// lineBudget counts the lines that may still be shown.
type lineBudget struct{ left int }

func (v *artifactView) add(b *lineBudget, kind lineKind, text string) {
	if b.left <= 0 {
		v.LeftOut++
		return
	}
	b.left--
	if most := limits.ShowLineBytes; len(text) > most {
		for most > 0 && !utf8.RuneStart(text[most]) {
			most--
		}
		text = fmt.Sprintf("%s … (%d bytes of this line are left out)", text[:most], len(text)-most)
		v.LeftOut++
	}
	v.Lines = append(v.Lines, shownLine{kind, text})
}

// viewArtifact reads one artifact of a flight. What cannot be read says why.
func viewArtifact(f *orchestrator.Flight, step string, sum orchestrator.SummaryArtifact, b *lineBudget) artifactView {
	v := artifactView{SummaryArtifact: sum}
	if !protocol.ValidArtifactName(sum.Name) {
		v.Problem = "the name is not allowed"
		return v
	}
	dir := path.Join("steps", step, "artifacts", sum.Name)
	raw, err := f.ReadFile(path.Join(dir, "artifact.json"), limits.ArtifactJSON)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	var d protocol.Artifact
	if err := protocol.Decode(raw, &d); err != nil {
		v.Problem = err.Error()
		return v
	}
	v.Type, v.Action, v.Target = d.ArtifactType, d.Action, d.Target
	if sum.Role != protocol.RoleEvidence {
		return v // state is for engines, a log is in the flight
	}
	if d.ArtifactType == orchestrator.TypePatch {
		err = v.patch(f, dir, d, b)
	} else {
		err = v.body(f, dir, d, b)
	}
	if err != nil {
		v.Problem = err.Error()
	}
	return v
}

func bodyOf(f *orchestrator.Flight, dir string, d protocol.Artifact, most int64) ([]byte, error) {
	switch body := d.Body.(type) {
	case nil:
	case string:
		return []byte(body), nil
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // it is read by people
		e.SetIndent("", "  ")
		err := e.Encode(body)
		return b.Bytes(), err
	}
	if d.BodyFile == "" {
		return nil, nil
	}
	if strings.Contains(d.BodyFile, "/") {
		return nil, fmt.Errorf("the body file's name %q is not allowed", d.BodyFile)
	}
	return f.ReadFile(path.Join(dir, d.BodyFile), most)
}

// patch shows what the patch does as it will be read at take-off, not its bytes:
// what no reader of patches would apply is not shown as if it would be.
func (v *artifactView) patch(f *orchestrator.Flight, dir string, d protocol.Artifact, b *lineBudget) error {
	body, err := bodyOf(f, dir, d, limits.PatchBody)
	if err != nil {
		return err
	}
	changes, err := patch.Read(bytes.NewReader(body), patch.Limits{})
	if err != nil {
		return err
	}
	meta, err := patch.Files(d.Metadata)
	if err != nil {
		return err
	}
	if err := patch.Check(changes, meta); err != nil {
		return err
	}
	v.Files = meta
	for i := range changes {
		v.file(&changes[i], meta[i], b)
	}
	return nil
}

func (v *artifactView) file(c *patch.Change, m patch.File, b *lineBudget) {
	v.add(b, lineFile, fileTitle(m))
	if c.Binary || m.Binary {
		v.add(b, lineNote, "binary content: before "+orNone(m.Before)+", after "+orNone(m.After))
	}
	for _, h := range c.Hunks {
		v.add(b, lineHunk, fmt.Sprintf("@@ -%d,%d +%d,%d @@", h.OldStart, h.OldLines, h.NewStart, h.NewLines))
		for _, l := range h.Lines {
			kind := lineContext
			switch l.Kind {
			case '+':
				kind = lineAdd
			case '-':
				kind = lineDelete
			}
			text, whole := bytes.CutSuffix(l.Text, []byte("\n"))
			v.add(b, kind, string(l.Kind)+string(text))
			if !whole {
				v.add(b, lineNote, "(no newline at the end of the file)")
			}
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// fileTitle says what happens to a file, its modes and links spelled out.
func fileTitle(m patch.File) string {
	name := m.Path()
	if m.Op == patch.Rename {
		name = m.OldPath + " -> " + m.NewPath
	}
	text := fmt.Sprintf("%s %s (+%d -%d)", m.Op, name, m.Added, m.Deleted)
	switch {
	case m.OldMode != "" && m.NewMode != "" && m.OldMode != m.NewMode:
		text += fmt.Sprintf(", mode %s -> %s", m.OldMode, m.NewMode)
	case m.NewMode == patch.ModeExecutable:
		text += ", executable"
	}
	if m.NewMode == patch.ModeLink {
		text += ", symbolic link"
	}
	return text
}

// body shows an artifact that is text.
func (v *artifactView) body(f *orchestrator.Flight, dir string, d protocol.Artifact, b *lineBudget) error {
	if d.BodyFile != "" && v.Size > limits.ShowText {
		v.add(b, lineNote, fmt.Sprintf("(%s; not shown)", size(v.Size)))
		return nil
	}
	body, err := bodyOf(f, dir, d, limits.ShowText)
	if err != nil || len(body) == 0 {
		return err
	}
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		v.add(b, lineNote, fmt.Sprintf("(%d bytes, not text)", len(body)))
		return nil
	}
	for line := range strings.Lines(string(body)) {
		v.add(b, lineContext, strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// render writes the artifact for a terminal.
func (v *artifactView) render(w *strings.Builder, colour bool) {
	title := fmt.Sprintf("artifact %s (%s", oneLine(v.Name), oneLine(v.Role))
	if v.Type != "" {
		title += ", " + oneLine(v.Type)
	}
	if v.Action != "" {
		title += ", " + oneLine(v.Action)
	}
	if v.Target != "" {
		title += ", target " + oneLine(v.Target)
	}
	w.WriteString("  " + paintBold.on(colour, title+")") + "\n")
	if v.Problem != "" {
		w.WriteString("    " + paintRed.on(colour, "cannot be shown: "+oneLine(v.Problem)) + "\n")
	}
	for _, l := range v.Lines {
		text := oneLine(l.Text)
		switch l.Kind {
		case lineFile:
			text = paintBold.on(colour, text)
		case lineHunk:
			text = paintCyan.on(colour, text)
		case lineAdd:
			text = paintGreen.on(colour, text)
		case lineDelete:
			text = paintRed.on(colour, text)
		case lineNote:
			text = paintDim.on(colour, text)
		case lineContext:
		}
		w.WriteString("  " + gutter + text + "\n")
	}
	if v.LeftOut > 0 {
		w.WriteString("    " + paintRed.on(colour, fmt.Sprintf("… %d lines are left out or cut; cabincrew show --html FILE shows more", v.LeftOut)) + "\n")
	}
}
