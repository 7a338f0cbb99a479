package policies

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

//go:embed bundled
var bundled embed.FS

// Set is one policy set: the files that policies are made of, read whole.
type Set struct {
	// Name is the cleaned entry name (see CleanName); it is unique in a flight.
	Name string
	// Files are sorted by the bytes of their path.
	Files []SetFile
}

// SetFile is one file of a set. Path is relative to the set, with slashes.
type SetFile struct {
	Path string
	Data []byte
}

// Test says whether the file holds tests of policies and no policy.
func (f SetFile) Test() bool { return strings.HasSuffix(f.Path, "_test.rego") }

// Rego says whether the file is a Rego module (a policy or a test).
func (f SetFile) Rego() bool { return strings.HasSuffix(f.Path, ".rego") }

// CleanName gives the name of the set that a configuration entry names: the
// cleaned path with "/" replaced by "_". SPEC: docs/protocol.md 3.
func CleanName(entry string) (string, error) {
	clean := path.Clean(entry)
	if entry == "" || !utf8.ValidString(entry) || strings.ContainsRune(entry, 0) {
		return "", protocol.Errorf(protocol.ExitUsage, "policy_set_name", "%q cannot name a policy set", entry).
			WithHint("name a directory relative to the configuration file")
	}
	return strings.ReplaceAll(clean, "/", "_"), nil
}

// gatewaySets are the built-in sets that judge messages of gateways; all others judge
// flights.
func gatewaySets() []string { return []string{"llm", "mcp"} }

// BundledNames gives the names of the built-in sets that judge flights, sorted.
func BundledNames() []string {
	return slices.DeleteFunc(allBundled(), func(name string) bool { return slices.Contains(gatewaySets(), name) })
}

// GatewayNames gives the names of the built-in sets that judge messages of gateways,
// sorted.
func GatewayNames() []string { return gatewaySets() }

func allBundled() []string {
	entries, err := bundled.ReadDir("bundled")
	if err != nil {
		return nil // the directory is part of the program; TestBundledNames proves it
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Bundled gives a built-in set that judges flights.
func Bundled(name string) (Set, error) {
	if slices.Contains(gatewaySets(), name) {
		return Set{}, protocol.Errorf(protocol.ExitUsage, "policy_set_kind", "the bundled policy set %q judges messages of a gateway, not flights", name).
			WithHint("name it in the gateway's configuration; the sets for flights are: %s", strings.Join(BundledNames(), ", "))
	}
	return AnyBundled(name)
}

// GatewayBundled gives a built-in set that judges messages of a gateway.
func GatewayBundled(name string) (Set, error) {
	if slices.Contains(BundledNames(), name) {
		return Set{}, protocol.Errorf(protocol.ExitUsage, "policy_set_kind", "the bundled policy set %q judges flights, not messages of a gateway", name).
			WithHint("name it in .cabincrew.yaml; the sets for gateways are: %s", strings.Join(gatewaySets(), ", "))
	}
	return AnyBundled(name)
}

// AnyBundled gives a built-in set, whatever it judges: for those who test or explain.
func AnyBundled(name string) (Set, error) {
	if !slices.Contains(allBundled(), name) {
		return Set{}, protocol.Errorf(protocol.ExitUsage, "policy_set_unknown", "there is no bundled policy set %q", name).
			WithHint("the bundled sets are: %s", strings.Join(allBundled(), ", "))
	}
	sub, err := fs.Sub(bundled, "bundled/"+name)
	if err != nil {
		return Set{}, fmt.Errorf("bundled set %s: %w", name, err)
	}
	return read(context.Background(), name, name, sub)
}

// Load reads the policy set that the configuration entry names from directory
// dir. It reads *.rego, data.json and data.yaml, at any depth, and refuses
// whatever would make a set mean less than its author sees: links, files that
// are no regular files, names that are nearly right.
func Load(ctx context.Context, entry, dir string) (Set, error) {
	name, err := CleanName(entry)
	if err != nil {
		return Set{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Set{}, protocol.Errorf(protocol.ExitDenied, "policy_set_missing", "cannot open the policy directory: %w", err).At(entry).
			WithHint("create it, or take it out of policies.rego")
	}
	set, err := read(ctx, name, entry, root.FS())
	return set, errors.Join(err, root.Close())
}

// loader gathers one set while the tree is walked.
type loader struct {
	entry   string
	fsys    fs.FS
	set     Set
	entries int
	bytes   int64
}

func read(ctx context.Context, name, entry string, fsys fs.FS) (Set, error) {
	l := &loader{entry: entry, fsys: fsys, set: Set{Name: name}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return refuse("policy_set_unreadable", l.where(p), "cannot read: %w", err)
		}
		return l.visit(p, d)
	})
	if err != nil {
		return Set{}, err
	}
	if len(l.set.Files) == 0 {
		return Set{}, protocol.Errorf(protocol.ExitDenied, "policy_set_empty", "the policy directory holds no policy").At(entry).
			WithHint("put a *.rego file into it, or take it out of policies.rego")
	}
	slices.SortFunc(l.set.Files, func(a, b SetFile) int { return cmp.Compare(a.Path, b.Path) })
	return l.set, nil
}

func (l *loader) visit(p string, d fs.DirEntry) error {
	if l.entries++; l.entries > limits.PolicyEntries {
		return l.tooMuch("more than %d files and directories", limits.PolicyEntries)
	}
	if !utf8.ValidString(p) {
		return refuse("policy_file_name", l.where(p), "the file name %q is not UTF-8", p).WithHint("rename the file")
	}
	if strings.Count(p, "/") > limits.PolicyDepth {
		return l.tooMuch("directories nested deeper than %d", limits.PolicyDepth)
	}
	if d.Type()&fs.ModeSymlink != 0 {
		return refuse("policy_file_kind", l.where(p), "symbolic links are not followed in a policy directory").
			WithHint("put the file itself there, or name the directory that it points to under policies.rego")
	}
	if d.IsDir() {
		return nil
	}
	base := path.Base(p)
	switch lower := strings.ToLower(base); {
	case strings.HasSuffix(base, ".rego"), base == "data.json", base == "data.yaml":
	case strings.HasSuffix(lower, ".rego"), lower == "data.json", lower == "data.yaml", lower == "data.yml":
		// Nearly a policy: leaving it out silently would be a policy that nobody evaluates.
		return refuse("policy_file_name", l.where(p), "the file would be left out because of its name").
			WithHint("name it *.rego, data.json or data.yaml")
	default:
		return nil
	}
	if !d.Type().IsRegular() {
		return refuse("policy_file_kind", l.where(p), "not a regular file").WithHint("take it out of the policy directory")
	}
	return l.add(p)
}

func (l *loader) add(p string) (err error) {
	f, err := l.fsys.Open(p)
	if err != nil {
		return refuse("policy_set_unreadable", l.where(p), "cannot read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The entry was a regular file when it was listed; it must be one now.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return refuse("policy_file_kind", l.where(p), "not a regular file any more")
	}
	data, err := io.ReadAll(io.LimitReader(f, limits.PolicyFile+1))
	if err != nil {
		return refuse("policy_set_unreadable", l.where(p), "cannot read: %w", err)
	}
	if len(data) > limits.PolicyFile {
		return refuse("policy_set_size", l.where(p), "the file has more than %d bytes", limits.PolicyFile).
			WithHint("split it")
	}
	if l.bytes += int64(len(data)); l.bytes > limits.PolicySet {
		return l.tooMuch("more than %d bytes", limits.PolicySet)
	}
	l.set.Files = append(l.set.Files, SetFile{Path: p, Data: data})
	if len(l.set.Files) > limits.PolicyFiles {
		return l.tooMuch("more than %d policy files", limits.PolicyFiles)
	}
	return nil
}

func (l *loader) tooMuch(format string, args ...any) error {
	return refuse("policy_set_size", l.entry, "the policy directory has "+format, args...).
		WithHint("name a directory that holds policies only")
}

func (l *loader) where(p string) string { return path.Join(filepath.ToSlash(l.entry), p) }

func refuse(code, where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, code, format, args...).At(where)
}

// Digest gives the policy_digest of sets: what the decision depends on, so tests
// are not in it. It does not depend on the order of sets or files.
// SPEC: docs/protocol.md 3.
func Digest(sets []Set) (string, error) {
	var files []protocol.FileRecord
	for _, s := range sets {
		for _, f := range s.Files {
			if !f.Test() {
				files = append(files, protocol.FileRecord{Letter: 'f', Digest: protocol.Digest(f.Data), Path: s.Name + "/" + f.Path})
			}
		}
	}
	return protocol.HashRecords(protocol.KindPolicies, files)
}
