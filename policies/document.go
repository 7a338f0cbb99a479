package policies

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Document gives the input as a plain JSON document (map[string]any, []any,
// string, Number, bool, nil) with every number exact.
func (in Input) Document() (any, error) {
	in = in.filled()
	// Patches are most of an input; writing and reading their lines would take longer
	// than many policies.
	patches, size := make([]any, len(in.Artifacts)), 0
	for i := range in.Artifacts {
		if p := in.Artifacts[i].Patch; p != nil {
			var n int
			patches[i], n = p.document()
			size += n
			in.Artifacts[i].Patch = nil // filled has copied the list
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(in); err != nil {
		return nil, protocol.Errorf(protocol.ExitDenied, "policy_input", "the policy input cannot be written: %w", err)
	}
	if size += b.Len(); size > limits.PolicyInput {
		return nil, protocol.Errorf(protocol.ExitDenied, "policy_input",
			"the policy input has %d bytes, more than %d", size, limits.PolicyInput).
			WithHint("split the step, or let its engine make fewer and smaller artifacts")
	}
	all, err := protocol.DecodeAny(b.Bytes())
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitDenied, "policy_input", "the policy input cannot be judged: %w", err).
			WithHint("the artifacts' metadata and bodies must be nested less deep")
	}
	list, _ := all.(map[string]any)["artifacts"].([]any) //nolint:forcetypeassert // it was written as such
	for i, p := range patches {
		if p != nil {
			list[i].(map[string]any)["patch"] = p //nolint:forcetypeassert // as above
		}
	}
	return all, nil
}

// document gives what writing and reading a patch would, and about how many bytes
// that would take.
func (p *Patch) document() (doc map[string]any, size int) {
	files := make([]any, len(p.Files))
	for i := range p.Files {
		f := &p.Files[i]
		added, m := texts(f.AddedLines)
		deleted, n := texts(f.DeletedLines)
		hunks, h := hunksOf(f.Hunks)
		size += len(f.Path) + len(f.OldPath) + m + n + h + 256
		files[i] = map[string]any{
			"op": valid(f.Op), "path": valid(f.Path), "old_path": valid(f.OldPath), "old_mode": valid(f.OldMode), "new_mode": valid(f.NewMode),
			"binary": f.Binary, "added": number(f.Added), "deleted": number(f.Deleted), "added_lines": added, "deleted_lines": deleted,
			"truncated": f.Truncated, "longest_line": number(f.LongestLine), "executable_changed": f.ExecutableChanged, "hunks": hunks,
		}
	}
	return map[string]any{"files": files}, size
}

func hunksOf(list []Hunk) (out []any, size int) {
	out = make([]any, len(list))
	for i, h := range list {
		lines := make([]any, len(h.Lines))
		for j, l := range h.Lines {
			lines[j] = map[string]any{"op": valid(l.Op), "line": number(l.Line), "text": valid(l.Text)}
			size += len(l.Text) + 32
		}
		out[i] = map[string]any{"old_start": number(h.OldStart), "new_start": number(h.NewStart), "lines": lines}
		size += 48
	}
	return out, size
}

func texts(list []string) (out []any, size int) {
	out = make([]any, len(list))
	for i, s := range list {
		out[i] = valid(s)
		size += len(s) + 3
	}
	return out, size
}

func number(n int64) protocol.Number { return protocol.Number(strconv.FormatInt(n, 10)) }

// valid gives a text with the replacement character for each byte that is no UTF-8,
// as writing JSON does.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
