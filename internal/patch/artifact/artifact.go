package artifact

import (
	"bytes"
	"context"
	"io"
	"maps"
	"strconv"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// Names of the artifacts.
const (
	changesName = "changes"
	summaryName = "summary"
)

const typePatch = "patch"

// Run is what this package needs of a run of an engine; engines/kit has it.
type Run interface {
	// Artifact writes an artifact and declares it.
	Artifact(name, role string, d protocol.Artifact, body func(w io.Writer) error) (digest string, err error)
	// PlannedBody reads a planned artifact of that type, which has a body file.
	PlannedBody(name, kind string, most int64) (protocol.Artifact, []byte, error)
}

// Tree is a directory with those of its files that count, sorted by path.
type Tree struct {
	Dir     string
	Entries []patch.Entry
}

// Summary is what an engine adds to the summary.
type Summary struct {
	Title string
	// Body are keys beside those that every summary has.
	Body map[string]any
	// File, if not nil, adds keys to the item of a file.
	File func(f *patch.File, item map[string]any)
}

// Changes are the changes of a patch.
type Changes struct {
	Files          []patch.File
	Added, Deleted int    // lines
	Digest         string // of the patch
}

// Write makes the patch that turns the old tree into the newer one, and writes it
// with its summary.
func Write(ctx context.Context, r Run, old, newer Tree, s Summary) (*Changes, error) {
	var body bytes.Buffer // bounded by limits.PatchBytes
	files, err := patch.Make(ctx, old.Dir, old.Entries, newer.Dir, newer.Entries, &body)
	if err != nil {
		return nil, err
	}
	c := changesOf(files)
	c.Digest, err = r.Artifact(changesName, protocol.RoleEvidence, protocol.Artifact{
		ArtifactType: typePatch, Action: "apply", Mime: "text/x-diff",
		Metadata: map[string]any{"files": files, "files_changed": len(files), "added": c.Added, "deleted": c.Deleted},
	}, func(w io.Writer) error { _, err := w.Write(body.Bytes()); return err })
	if err != nil {
		return nil, err
	}
	_, err = r.Artifact(summaryName, protocol.RoleEvidence, protocol.Artifact{
		ArtifactType: "summary", Action: "inform", Mime: "application/json", Body: c.summarise(s),
	}, nil)
	return c, err
}

func changesOf(files []patch.File) *Changes {
	c := &Changes{Files: files}
	for i := range files {
		c.Added, c.Deleted = c.Added+files[i].Added, c.Deleted+files[i].Deleted
	}
	return c
}

// summarise makes the body of the summary.
func (c *Changes) summarise(s Summary) map[string]any {
	list := make([]any, 0, len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		item := map[string]any{"path": f.Path(), "op": string(f.Op), "added": f.Added, "deleted": f.Deleted}
		if s.File != nil {
			s.File(f, item)
		}
		list = append(list, item)
	}
	body := map[string]any{"files_changed": len(c.Files), "added": c.Added, "deleted": c.Deleted, "files": list}
	maps.Copy(body, s.Body)
	if s.Title != "" {
		body["title"] = s.Title
	}
	return body
}

// Metrics are the counts of the changes.
func (c *Changes) Metrics() []protocol.EngineMetric {
	number := func(n int) protocol.Number { return protocol.Number(strconv.Itoa(n)) }
	return []protocol.EngineMetric{
		{Name: "files_changed", Value: number(len(c.Files))},
		{Name: "lines_added", Value: number(c.Added)},
		{Name: "lines_deleted", Value: number(c.Deleted)},
	}
}

// Apply applies the planned patch to the workspace, unless allow refuses the files
// that it changes; nil allows all. A workspace where it was applied in part, by a
// run that was killed, is completed.
func Apply(ctx context.Context, r Run, workspace string, allow func([]patch.File) error) (*Changes, error) {
	a, body, err := r.PlannedBody(changesName, typePatch, limits.PatchBytes)
	if err != nil {
		return nil, err
	}
	files, err := patch.Files(a.Metadata)
	if err != nil {
		return nil, err
	}
	changes, err := patch.Read(bytes.NewReader(body), patch.Limits{})
	if err != nil {
		return nil, err
	}
	if allow != nil {
		if err := allow(files); err != nil {
			return nil, err
		}
	}
	if err := patch.Apply(ctx, workspace, changes, files, patch.ApplyOptions{AllowApplied: true}); err != nil {
		return nil, err
	}
	c := changesOf(files)
	c.Digest = protocol.Digest(body)
	return c, nil
}
