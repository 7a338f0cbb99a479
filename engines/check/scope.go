package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// typePatch is the type of artifacts that are patches.
// SPEC: docs/protocol.md 4.
const typePatch = "patch"

// patches reads the plan's patches. wrong says of one that it is none.
func (p plan) patches() (files []patch.File, wrong error) {
	for _, a := range p.withRole(protocol.RoleEvidence) {
		if a.Description.ArtifactType != typePatch {
			continue
		}
		list, err := p.patch(a)
		if err != nil {
			return nil, fmt.Errorf("artifact %s is no valid patch: %s", a.Name, reason(err)) // its own code says nothing here
		}
		files = append(files, list...)
	}
	return files, nil
}

func (p plan) patch(a engines.Artifact) ([]patch.File, error) {
	var body []byte
	switch text, ok := a.Description.Body.(string); {
	case a.BodyDigest != "" && a.Size > limits.CheckSearch:
		return nil, fmt.Errorf("it has more than %d bytes", limits.CheckSearch)
	case a.BodyDigest != "":
		var err error
		if body, err = readSome(p.body(a)); err != nil {
			return nil, err
		}
	case !ok && a.Description.Body != nil:
		return nil, errors.New("its body is not text")
	default:
		body = []byte(text)
	}
	changes, err := patch.Read(bytes.NewReader(body), patch.Limits{})
	if err != nil {
		return nil, err
	}
	files, err := patch.Files(a.Description.Metadata)
	if err != nil {
		return nil, err
	}
	return files, patch.Check(changes, files)
}

// takeOffScope compares what take-off changed with what the plan names.
func (b *bench) takeOffScope(_ context.Context, good flown) error {
	if !b.begin(TakeOffScope) {
		return nil
	}
	patches, err := b.first.patches()
	if err != nil {
		return err // planArtifacts has judged it, and no take-off was made
	}
	if len(patches) > 0 {
		wrong := differs(good, patches)
		b.verdict(TakeOffScope, wrong, "it changed exactly what the patches say")
		return nil
	}
	changed := changedPaths(good.before, good.after)
	if len(changed) == 0 {
		b.addf(TakeOffScope, Pass, "it changed nothing in the workspace")
		return nil
	}
	texts, targets, err := b.first.mentions()
	if err != nil {
		return err
	}
	var unnamed []string
	for _, name := range changed {
		if !mentioned(name, texts, targets) {
			unnamed = append(unnamed, name)
		}
	}
	if len(unnamed) > 0 {
		b.addf(TakeOffScope, Warn, "no artifact names %s, which take-off wrote", names(unnamed))
		return nil
	}
	b.addf(TakeOffScope, Pass, "the artifacts name each file that it changed")
	return nil
}

// differs says how the files after a take-off differ from those before it with the
// patches, "" where they do not.
func differs(f flown, patches []patch.File) string {
	want := byPath(f.before)
	for _, m := range patches {
		if m.OldPath != "" && m.OldPath != m.NewPath {
			delete(want, m.OldPath)
		}
	}
	planned := map[string]bool{}
	for _, m := range patches {
		planned[m.OldPath], planned[m.NewPath] = true, true
		if m.NewPath != "" {
			want[m.NewPath] = workspace.File{Path: m.NewPath, Letter: letterOf(m.NewMode), Digest: m.After}
		}
	}
	got := byPath(f.after)
	var beside []string
	wrong := ""
	for _, name := range sortedNames(want, got) {
		w, wanted := want[name]
		g, there := got[name]
		switch {
		case wanted == there && (!there || w.Digest == g.Digest && w.Letter == g.Letter):
		case !planned[name]:
			beside = append(beside, name)
		case wrong != "":
		case !there:
			wrong = fmt.Sprintf("after take-off %s is not there, and the patch makes it", quoted(name))
		case !wanted:
			wrong = fmt.Sprintf("after take-off %s is still there, and the patch removes it", quoted(name))
		default:
			wrong = fmt.Sprintf("after take-off %s is not what the patch makes of it: it is %s, %s, and should be %s, %s",
				quoted(name), workspaceMode(g.Letter), g.Digest, workspaceMode(w.Letter), w.Digest)
		}
	}
	if len(beside) > 0 {
		return fmt.Sprintf("take-off changed %s, which no patch of the plan does", names(beside))
	}
	return wrong
}

func letterOf(mode string) byte {
	switch mode {
	case patch.ModeExecutable:
		return workspace.Executable
	case patch.ModeLink:
		return workspace.Link
	}
	return workspace.Regular
}

func workspaceMode(letter byte) string {
	switch letter {
	case workspace.Executable:
		return "an executable file"
	case workspace.Link:
		return "a link"
	}
	return "a file"
}

func byPath(files []workspace.File) map[string]workspace.File {
	out := make(map[string]workspace.File, len(files))
	for _, f := range files {
		out[f.Path] = f
	}
	return out
}

func sortedNames(maps ...map[string]workspace.File) []string {
	var out []string
	for _, m := range maps {
		for name := range m {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changedPaths lists the files that differ in content or kind.
func changedPaths(before, after []workspace.File) []string {
	was, is := byPath(before), byPath(after)
	return slices.DeleteFunc(sortedNames(was, is), func(name string) bool {
		w, had := was[name]
		i, has := is[name]
		return had && has && w.Digest == i.Digest && w.Letter == i.Letter
	})
}

// names lists paths, at most a few.
func names(list []string) string {
	const most = 5
	var out []string
	for _, name := range list[:min(len(list), most)] {
		out = append(out, quoted(name))
	}
	if more := len(list) - most; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// mentions gives what the plan's artifacts say, and what they name as target.
func (p plan) mentions() (texts [][]byte, targets []string, err error) {
	for _, a := range p.withRole(protocol.RoleEvidence, protocol.RoleState) {
		list, err := p.texts(a)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range list {
			texts = append(texts, t.data)
		}
		if a.Description.Target != "" {
			targets = append(targets, path.Clean(a.Description.Target))
		}
	}
	return texts, targets, nil
}

// mentioned says whether a path is a target or below one, or stands in a text.
func mentioned(name string, texts [][]byte, targets []string) bool {
	for at := name; at != "."; at = path.Dir(at) {
		if slices.Contains(targets, at) {
			return true
		}
	}
	forms := []string{name}
	if escaped, err := json.Marshal(name); err == nil {
		forms = append(forms, strings.Trim(string(escaped), `"`))
	}
	for _, t := range texts {
		for _, form := range forms {
			if isPathIn(t, form) {
				return true
			}
		}
	}
	return false
}

// isPathIn says whether a path stands in a text, not as a part of a longer one.
func isPathIn(data []byte, name string) bool {
	part := func(c byte) bool { return isWord(c|0x20) || c == '-' || c == '/' }
	for from := 0; ; {
		n := bytes.Index(data[from:], []byte(name))
		if n < 0 {
			return false
		}
		at, end := from+n, from+n+len(name)
		before := bytes.TrimSuffix(data[:at], []byte("./"))
		after := data[end:]
		left := len(before) == 0 || !part(before[len(before)-1]) && before[len(before)-1] != '.'
		right := len(after) == 0 || !part(after[0]) && !(after[0] == '.' && len(after) > 1 && part(after[1]))
		if left && right {
			return true
		}
		from = at + 1
	}
}
