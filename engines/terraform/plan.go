package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// stateDir is never part of a copy; a run by hand may find it in the workspace.
const stateDir = ".cabincrew"

// plan makes a saved plan over a private copy, and the evidence of it.
func plan(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	base, remove, err := privatePlace(r)
	if err != nil {
		return nil, err
	}
	defer remove()
	top := filepath.Join(base, "workspace")
	if err := copyWorkspace(ctx, r, top); err != nil {
		return nil, err
	}
	dir, err := moduleDir(top, s.dir)
	if err != nil {
		return nil, err
	}
	t, err := newTool(r, s, base, dir)
	if err != nil {
		return nil, err
	}
	if err := t.init(ctx, s); err != nil {
		return nil, err
	}
	rec, err := look(ctx, t, top, s)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(base, "plan.bin")
	if err := t.plan(ctx, s, top, file); err != nil {
		return nil, err
	}
	saved, err := readSaved(file)
	if err != nil {
		return nil, err
	}
	show, err := t.capture(ctx, limits.TerraformPlanJSON, "show", "-json", file)
	if err != nil {
		return nil, err
	}
	rec.SecretVariables, rec.Encrypted = secretVariables(r), !s.plaintext
	return write(r, s, rec, saved, show)
}

// write writes the three artifacts.
func write(r *kit.Run, s *settings, rec *record, saved, show []byte) (*protocol.EngineOutput, error) {
	planned, summary, err := evidence(show, rec.SecretVariables)
	if err != nil {
		return nil, err
	}
	rec.TerraformVersion = text(summary.body["terraform_version"])
	st, err := savedState(saved, zipState)
	if err != nil {
		return nil, err
	}
	rec.Serial, rec.Lineage = st.serial, st.lineage
	for _, a := range []artifact{planned, summary} {
		if _, err := r.Artifact(a.name, protocol.RoleEvidence, a.description(), nil); err != nil {
			return nil, err
		}
	}
	metadata, err := rec.metadata()
	if err != nil {
		return nil, err
	}
	mime := "application/zip"
	if rec.Encrypted {
		mime = "application/vnd.age"
	}
	_, err = r.Artifact(stateName, protocol.RoleState, protocol.Artifact{
		ArtifactType: "terraform-saved-plan", Action: "apply", Mime: mime, Metadata: metadata,
	}, func(w io.Writer) error { return seal(w, saved, s.recipients) })
	if err != nil {
		return nil, err
	}
	return &protocol.EngineOutput{Metrics: metrics(summary.body["counts"])}, nil
}

func metrics(counts any) []protocol.EngineMetric {
	m, _ := counts.(map[string]int) // summarise made it
	out := make([]protocol.EngineMetric, 0, len(m))
	for _, k := range kinds() {
		out = append(out, protocol.EngineMetric{Name: "resources_to_" + strings.ReplaceAll(k, "-", "_"), Value: protocol.Number(strconv.Itoa(m[k]))})
	}
	return out
}

// privatePlace makes the directory for everything that a run needs beside the
// workspace. Its name is fixed, since a module can see it (path.cwd).
func privatePlace(r *kit.Run) (base string, remove func(), err error) {
	base = filepath.Join(r.Temp, "terraform")
	if err := os.Mkdir(base, 0o700); err != nil {
		return "", nil, fmt.Errorf("making a private place: %w", err)
	}
	return base, func() {
		if err := os.RemoveAll(base); err != nil {
			r.Logf("the private copy cannot be removed: %v", err)
		}
	}, nil
}

// copyWorkspace copies what the step may see. Links that lead out are left behind.
func copyWorkspace(ctx context.Context, r *kit.Run, to string) error {
	files, err := workspace.Scan(ctx, r.Workspace, workspace.Options{NoIgnore: true, Tracked: []string{}, Exclude: []string{stateDir, ".git"}})
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f workspace.File) bool {
		slashed := "/" + f.Path + "/"
		return strings.Contains(slashed, "/.git/") || strings.Contains(slashed, "/.terraform/") || f.Letter == workspace.Link && leadsOut(r, f.Path)
	})
	return workspace.Copy(ctx, r.Workspace, files, to)
}

func leadsOut(r *kit.Run, name string) bool {
	target, err := os.Readlink(filepath.Join(r.Workspace, filepath.FromSlash(name)))
	if err == nil && !path.IsAbs(target) && filepath.IsLocal(path.Join(path.Dir(name), filepath.ToSlash(target))) {
		return false
	}
	r.Logf("%q is a link that leads out of the workspace; it is left out", name)
	return true
}

// moduleDir gives the root module's directory, which must be a real one with a
// configuration in it.
func moduleDir(top, dir string) (string, error) {
	for at := dir; at != "."; at = path.Dir(at) {
		info, err := os.Lstat(filepath.Join(top, filepath.FromSlash(at)))
		if err != nil || !info.IsDir() {
			return "", badConfig("dir", "%q is not a directory of the workspace", dir)
		}
	}
	full := filepath.Join(top, filepath.FromSlash(dir))
	entries, err := os.ReadDir(full)
	if err != nil {
		return "", badConfig("dir", "%q cannot be read: %w", dir, err)
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isConfiguration(e.Name()) }) {
		return "", badConfig("dir", "there is no Terraform configuration in %q", dir)
	}
	return full, nil
}

// init prepares the module. The lock file is never changed.
func (t *tool) init(ctx context.Context, s *settings) error {
	args := []string{"init", "-input=false", "-no-color", "-lockfile=readonly"}
	for _, k := range slices.Sorted(maps.Keys(s.backend)) {
		args = append(args, "-backend-config="+k+"="+s.backend[k])
	}
	code, said, err := t.run(ctx, args...)
	if err != nil {
		return err
	}
	_, lockErr := os.Lstat(filepath.Join(t.dir, lockFile))
	_, providersErr := os.Lstat(filepath.Join(t.data, "providers"))
	changes := said.has("Provider dependency changes detected")
	unmet := code != 0 && (changes || said.has("Failed to query available provider packages") || said.has("Failed to install provider"))
	switch {
	case errors.Is(lockErr, fs.ErrNotExist) && (providersErr == nil || unmet):
		return protocol.Errorf(protocol.ExitUsage, "terraform_lock_missing", "the module needs providers and has no %s", lockFile).
			At(path.Join(s.dir, lockFile)).WithHint("run \"%s init\" in %s and commit the file; it must be among the step's inputs", s.binary, s.dir)
	case code != 0 && (changes || said.has("checksums")):
		return protocol.Errorf(protocol.ExitUsage, "terraform_lock_differs", "%s does not have the providers that the module needs, or has other checksums", lockFile).
			At(path.Join(s.dir, lockFile)).WithHint("run \"%s init\" in %s (\"%s providers lock\" for other systems) and commit the file", s.binary, s.dir, s.binary)
	case code != 0:
		return t.failed(args, code, said)
	}
	return nil
}

// plan writes a saved plan. It takes no lock, since that would write to the backend.
func (t *tool) plan(ctx context.Context, s *settings, top, file string) error {
	args := []string{"plan", "-input=false", "-no-color", "-lock=false", "-detailed-exitcode", "-out=" + file,
		"-refresh=" + strconv.FormatBool(s.refresh)}
	if s.destroy {
		args = append(args, "-destroy")
	}
	args = append(args, t.parallel(s)...)
	for _, k := range slices.Sorted(maps.Keys(s.vars)) {
		args = append(args, "-var", k+"="+s.vars[k])
	}
	for _, f := range s.varFiles {
		args = append(args, "-var-file="+filepath.Join(top, filepath.FromSlash(f)))
	}
	for _, a := range s.targets {
		args = append(args, "-target="+a)
	}
	code, said, err := t.run(ctx, args...)
	if err == nil && code != 0 && code != 2 { // 2 says that there are changes
		err = t.failed(args, code, said)
	}
	return err
}

func (t *tool) parallel(s *settings) []string {
	if s.parallelism == 0 {
		return nil
	}
	return []string{"-parallelism=" + strconv.Itoa(s.parallelism)}
}

func readSaved(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, badSaved("%w", err)
	}
	defer func() { _ = f.Close() }() // only read
	saved, err := kit.ReadBounded(f, limits.TerraformPlanFile)
	if err != nil {
		return nil, badSaved("%w", err)
	}
	return saved, nil
}
