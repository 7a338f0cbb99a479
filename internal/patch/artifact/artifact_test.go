package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// run keeps what is written, and gives it back as planned.
type run struct {
	descriptions map[string]protocol.Artifact
	body         []byte
	fail         string // the artifact that cannot be written
}

var errFull = errors.New("the disk is full")

func (r *run) Artifact(name, role string, d protocol.Artifact, body func(w io.Writer) error) (string, error) {
	if name == r.fail || role != protocol.RoleEvidence {
		return "", errFull
	}
	raw, err := protocol.Canonical(d)
	if err != nil {
		return "", err
	}
	var back protocol.Artifact
	if err := protocol.Decode(raw, &back); err != nil {
		return "", err
	}
	r.descriptions[name] = back
	if body == nil {
		return protocol.Digest(raw), nil
	}
	var b bytes.Buffer
	if err := body(&b); err != nil {
		return "", err
	}
	r.body = b.Bytes()
	return protocol.Digest(r.body), nil
}

func (r *run) PlannedBody(name, kind string, _ int64) (protocol.Artifact, []byte, error) {
	d, ok := r.descriptions[name]
	if !ok || d.ArtifactType != kind {
		return d, nil, os.ErrNotExist
	}
	return d, r.body, nil
}

func tree(t *testing.T, files map[string]string) Tree {
	t.Helper()
	dir := t.TempDir()
	var out []patch.Entry
	for _, name := range []string{"a", "b", "c"} {
		content, ok := files[name]
		if !ok {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		out = append(out, patch.Entry{Path: name, Letter: 'f', Digest: protocol.Digest([]byte(content)), Size: int64(len(content))})
	}
	return Tree{Dir: dir, Entries: out}
}

func TestWriteAndApply(t *testing.T) {
	t.Parallel()
	old, newer := tree(t, map[string]string{"a": "1\n2\n", "b": "x\n"}), tree(t, map[string]string{"a": "1\n3\n4\n", "c": "x\n"})
	r := &run{descriptions: map[string]protocol.Artifact{}}
	c, err := Write(context.Background(), r, old, newer, Summary{
		Title: "T", Body: map[string]any{"more": "m"},
		File: func(f *patch.File, item map[string]any) { item["was"] = f.OldPath },
	})
	if err != nil {
		t.Fatal(err)
	}
	number := func(n string) protocol.Number { return protocol.Number(n) }
	want := map[string]any{
		"title": "T", "more": "m", "files_changed": number("2"), "added": number("2"), "deleted": number("1"),
		"files": []any{
			map[string]any{"path": "a", "op": "modify", "added": number("2"), "deleted": number("1"), "was": "a"},
			map[string]any{"path": "c", "op": "rename", "added": number("0"), "deleted": number("0"), "was": "b"},
		},
	}
	if got := r.descriptions[summaryName].Body; !reflect.DeepEqual(got, want) {
		t.Errorf("the summary is %#v", got)
	}
	metrics := []protocol.EngineMetric{{Name: "files_changed", Value: "2"}, {Name: "lines_added", Value: "2"}, {Name: "lines_deleted", Value: "1"}}
	if !reflect.DeepEqual(c.Metrics(), metrics) || c.Digest != protocol.Digest(r.body) {
		t.Errorf("%v, %s", c.Metrics(), c.Digest)
	}

	refused := errors.New("refused")
	var asked []patch.File
	if _, err := Apply(context.Background(), r, old.Dir, func(f []patch.File) error { asked = f; return refused }); !errors.Is(err, refused) || len(asked) != 2 {
		t.Errorf("%v after %v", err, asked)
	}
	if _, err := os.Stat(filepath.Join(old.Dir, "b")); err != nil {
		t.Error("what was refused is applied:", err)
	}
	for range 2 { // the second time it is there already
		again, err := Apply(context.Background(), r, old.Dir, nil)
		if err != nil || again.Digest != c.Digest || !reflect.DeepEqual(again.Metrics(), metrics) {
			t.Errorf("%+v, %v", again, err)
		}
	}
	for name, want := range map[string]string{"a": "1\n3\n4\n", "c": "x\n"} {
		if got, err := os.ReadFile(filepath.Join(old.Dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	old, newer := tree(t, map[string]string{"a": "1\n"}), tree(t, map[string]string{"a": "2\n"})
	for _, name := range []string{changesName, summaryName} {
		if _, err := Write(context.Background(), &run{descriptions: map[string]protocol.Artifact{}, fail: name}, old, newer, Summary{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := &run{descriptions: map[string]protocol.Artifact{}}
	if _, err := Write(context.Background(), r, Tree{Dir: filepath.Join(old.Dir, "none")}, newer, Summary{}); err == nil {
		t.Error("a directory that is not there is described")
	}
	if _, err := Apply(context.Background(), r, old.Dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error("what was not planned:", err)
	}
	if _, err := Write(context.Background(), r, old, newer, Summary{}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(r *run){
		"body":        func(r *run) { r.body = []byte("no patch\n") },
		"description": func(r *run) { r.descriptions[changesName] = protocol.Artifact{ArtifactType: typePatch} },
	} {
		bad := &run{descriptions: map[string]protocol.Artifact{changesName: r.descriptions[changesName]}, body: r.body}
		spoil(bad)
		if _, err := Apply(context.Background(), bad, old.Dir, nil); err == nil {
			t.Errorf("a changed %s is applied", name)
		}
	}
}
