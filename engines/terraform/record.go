package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

const lockFile = ".terraform.lock.hcl"

// record is what a plan was made from. It is the metadata of the saved plan, and
// take-off compares with it.
type record struct {
	TerraformVersion string       `json:"terraform_version"`
	Serial           string       `json:"serial"` // as text: a foreign number
	Lineage          string       `json:"lineage"`
	LockDigest       string       `json:"lock_digest"` // "" without a lock file
	Modules          []string     `json:"modules"`     // their directories in the workspace
	Files            []recordFile `json:"files"`
	RemoteModules    string       `json:"remote_modules"`   // digest of what init fetched, or ""
	SecretVariables  []string     `json:"secret_variables"` // variables whose values are secrets of the step
	Encrypted        bool         `json:"encrypted"`
}

type recordFile struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
}

// metadata gives the record as an artifact has it.
func (r *record) metadata() (map[string]any, error) {
	raw, err := protocol.Canonical(r)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	err = protocol.Decode(raw, &m)
	return m, err
}

func recordOf(metadata map[string]any) (*record, error) {
	raw, err := protocol.Canonical(metadata)
	if err != nil {
		return nil, kit.InvalidPlan("the saved plan's metadata: %w", err)
	}
	r := &record{}
	if err := protocol.Decode(raw, r); err != nil {
		return nil, kit.InvalidPlan("the saved plan's metadata: %w", err)
	}
	for _, p := range r.Modules {
		if !fs.ValidPath(p) {
			return nil, kit.InvalidPlan("the saved plan's metadata has the path %q", p)
		}
	}
	return r, nil
}

// look reads what the modules are made from, after init has run: lock file,
// configuration files of every local module, and what was fetched.
func look(ctx context.Context, t *tool, top string, s *settings) (*record, error) {
	r := &record{Files: []recordFile{}, SecretVariables: []string{}}
	remote, err := r.modules(t, top, s.dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("reading the modules: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	for _, dir := range r.Modules {
		if err := r.list(root, dir); err != nil {
			return nil, err
		}
	}
	for _, name := range s.varFiles {
		if err := r.add(root, name); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.Files, func(a, b recordFile) int { return strings.Compare(a.Path, b.Path) })
	r.Files = slices.Compact(r.Files)
	if lock := path.Join(s.dir, lockFile); exists(root, lock) {
		if r.LockDigest, err = digestFile(root, lock); err != nil {
			return nil, err
		}
	}
	if remote {
		r.RemoteModules, err = fetched(ctx, filepath.Join(t.data, "modules"))
	}
	return r, err
}

// modules finds the directories of local modules, and whether there are others.
func (r *record) modules(t *tool, top, dir string) (remote bool, err error) {
	r.Modules = []string{dir}
	raw, err := readSmall(filepath.Join(t.data, "modules", "modules.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a module without calls
	}
	if err != nil {
		return false, badModules("%w", err)
	}
	var list struct {
		Modules []struct{ Dir string } `json:"Modules"`
	}
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Modules) > limits.TerraformModules {
		return false, badModules("the list of modules cannot be read, or has more than %d", limits.TerraformModules)
	}
	for _, m := range list.Modules {
		at := filepath.FromSlash(m.Dir)
		if !filepath.IsAbs(at) {
			at = filepath.Join(t.dir, at)
		}
		if _, ok := within(t.data, at); ok {
			remote = true
			continue
		}
		local, ok := within(top, at)
		if !ok {
			return false, badModules("the module in %q is outside the workspace", m.Dir)
		}
		if !slices.Contains(r.Modules, local) {
			r.Modules = append(r.Modules, local)
		}
	}
	slices.Sort(r.Modules)
	return remote, nil
}

// within gives the slash path of at below top, if it lies there.
func within(top, at string) (string, bool) {
	rel, err := filepath.Rel(top, at)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// list adds the configuration files of one directory.
func (r *record) list(root *os.Root, dir string) error {
	f, err := root.Open(filepath.FromSlash(dir))
	if err != nil {
		return badModules("%w", err)
	}
	defer func() { _ = f.Close() }() // only read
	entries, err := f.ReadDir(limits.TerraformEntries)
	if err != nil && len(entries) > 0 || len(entries) == limits.TerraformEntries {
		return badModules("the directory %s cannot be listed, or has %d entries", dir, limits.TerraformEntries)
	}
	for _, e := range entries {
		if !isConfiguration(e.Name()) && !isVariables(e.Name()) {
			continue
		}
		if err := r.add(root, path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (r *record) add(root *os.Root, name string) error {
	if len(r.Files) == limits.TerraformFiles {
		return badModules("they have more than %d configuration files", limits.TerraformFiles)
	}
	digest, err := digestFile(root, name)
	if err != nil {
		return err
	}
	r.Files = append(r.Files, recordFile{name, digest})
	return nil
}

func isConfiguration(name string) bool {
	for _, suffix := range []string{".tf", ".tf.json", ".tofu", ".tofu.json"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// isVariables says whether terraform reads a file of a root module for variables unasked.
func isVariables(name string) bool {
	return name == "terraform.tfvars" || name == "terraform.tfvars.json" ||
		strings.HasSuffix(name, ".auto.tfvars") || strings.HasSuffix(name, ".auto.tfvars.json")
}

func exists(root *os.Root, name string) bool {
	_, err := root.Lstat(filepath.FromSlash(name))
	return err == nil
}

// digestFile hashes a regular file, also behind a link that stays inside.
func digestFile(root *os.Root, name string) (string, error) {
	local := filepath.FromSlash(name)
	info, err := root.Stat(local)
	if err != nil || !info.Mode().IsRegular() {
		return "", badModules("%s is not a file of the workspace", name)
	}
	f, err := root.Open(local)
	if err != nil {
		return "", badModules("%w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := kit.ReadBounded(f, limits.TerraformFile)
	if err != nil {
		return "", badModules("%s: %w", name, err)
	}
	return protocol.Digest(data), nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return kit.ReadBounded(f, limits.TerraformFile)
}

// fetched hashes the modules that init fetched, without the data of version
// control, which differs from fetch to fetch.
func fetched(ctx context.Context, dir string) (string, error) {
	files, err := workspace.Scan(ctx, dir, workspace.Options{NoIgnore: true, Tracked: []string{}})
	if err != nil {
		return "", err
	}
	records := make([]protocol.FileRecord, 0, len(files))
	for _, f := range files {
		if f.Path != "modules.json" && !strings.Contains("/"+f.Path+"/", "/.git/") {
			records = append(records, protocol.FileRecord{Letter: f.Letter, Digest: f.Digest, Path: f.Path})
		}
	}
	return protocol.HashRecords(protocol.KindWorkspace, records)
}

// moved names what differs between what was planned with and what is there now.
// A file of variables that is only here now changes nothing: values are saved.
func (r *record) moved(now *record) []string {
	var out []string
	if r.LockDigest != now.LockDigest {
		out = append(out, lockFile)
	}
	was, is := map[string]string{}, map[string]string{}
	for _, f := range r.Files {
		was[f.Path] = f.Digest
	}
	for _, f := range now.Files {
		is[f.Path] = f.Digest
		if _, planned := was[f.Path]; !planned && isConfiguration(f.Path) {
			out = append(out, f.Path+" (new)")
		}
	}
	for _, f := range r.Files {
		switch digest, there := is[f.Path]; {
		case !there:
			out = append(out, f.Path+" (gone)")
		case digest != f.Digest:
			out = append(out, f.Path)
		}
	}
	if r.RemoteModules != now.RemoteModules {
		out = append(out, "modules that init fetches")
	}
	return out
}

func badModules(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "terraform_modules", "the modules: "+format, args...).
		WithHint("modules must be fetched by init or lie in the workspace, among the step's inputs")
}

// some joins the first names of a list, fit for a terminal.
func some(names []string) string {
	shown := make([]string, 0, limits.TerraformNamed)
	for _, n := range names[:min(len(names), limits.TerraformNamed)] {
		if strings.ContainsFunc(n, func(r rune) bool { return !strconv.IsPrint(r) }) {
			n = strconv.Quote(n)
		}
		shown = append(shown, n)
	}
	if over := len(names) - len(shown); over > 0 {
		return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", over)
	}
	return strings.Join(shown, ", ")
}
