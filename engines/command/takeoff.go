package command

import (
	"bytes"
	"context"
	"os"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the planned patch. A workspace where it was applied in part, by
// a run that was killed, is completed.
func (r *run) takeOff(ctx context.Context) (*protocol.EngineOutput, error) {
	root, err := os.OpenRoot(r.env["CABINCREW_ARTIFACTS_DIR"])
	if err != nil {
		return nil, invalidPlan("the artifacts directory cannot be opened: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	description, err := readFile(root, changesName+"/artifact.json", limits.ArtifactJSON)
	if err != nil {
		return nil, err
	}
	var a protocol.Artifact
	if err := protocol.Decode(description, &a); err != nil {
		return nil, invalidPlan("the planned changes cannot be read: %w", err)
	}
	if a.ArtifactType != "patch" || a.BodyFile == "" || strings.ContainsAny(a.BodyFile, "/\\") || a.BodyFile == ".." {
		return nil, invalidPlan("the planned changes are not a patch with a body file")
	}
	files, err := patch.Files(a.Metadata)
	if err != nil {
		return nil, err
	}
	body, err := readFile(root, changesName+"/"+a.BodyFile, limits.PatchBytes)
	if err != nil {
		return nil, err
	}
	changes, err := patch.Read(bytes.NewReader(body), patch.Limits{})
	if err != nil {
		return nil, err
	}
	if err := patch.Apply(ctx, r.env["CABINCREW_WORKSPACE"], changes, files, patch.ApplyOptions{AllowApplied: true}); err != nil {
		return nil, err
	}
	added, deleted := count(files)
	return &protocol.EngineOutput{
		ReceiptID: receiptID(protocol.Digest(body)), Status: protocol.StatusSuccess, Metrics: metrics(len(files), added, deleted),
	}, nil
}

func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, invalidPlan("the planned artifact has no file %s", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, invalidPlan("the planned artifact cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := readBounded(f, most)
	if err != nil {
		return nil, invalidPlan("%s cannot be read: %w", name, err)
	}
	return data, nil
}

func invalidPlan(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, "command_plan_invalid", format, args...).
		WithHint("the artifact was not made by this engine or was changed; plan again")
}
