package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// engine is what a step runs, found in one directory.
type engine struct {
	argv   []string // argv[0] is absolute
	digest string
	files  []string // slash paths of workspace files that the command line names

	builtin engines.Builtin   // if it is one
	cache   string            // directory for what is compiled of a module
	root    string            // root file system of an image
	env     map[string]string // of an image
	outside string            // a file of it that is not in the workspace
}

// findEngine finds a step's engine. Files of the workspace that its command line
// names are looked up in dirs, the first that has one wins, and are run from at.
// SPEC: docs/protocol.md 3, engine_digest.
// pinned is the digest that the plan has for an image, "" while planning.
func (o *Orchestrator) findEngine(ctx context.Context, step *config.Step, pinned, at string, dirs ...string) (engine, error) {
	switch {
	case step.Engine.Wasm != "":
		return o.findModule(ctx, step, at, dirs)
	case step.Engine.OCI != "":
		image, err := o.Programs.Image(ctx, step.Engine, pinned)
		return engine{argv: image.Argv, digest: image.Digest, root: image.Root, env: image.Env}, err
	}
	if use := step.Engine.Use; use != "" {
		b, argv, digest, ok := o.Programs.Builtin(use)
		if !ok {
			return engine{}, protocol.Errorf(protocol.ExitUsage, "engine_unknown", "there is no built-in engine %q", use).
				At(step.Where).WithHint("see cabincrew engine list")
		}
		return engine{argv: argv, digest: digest, builtin: b}, nil
	}
	e := engine{argv: append([]string(nil), step.Engine.Run...)}
	var digests []string
	for i, arg := range e.argv {
		if i == 0 && !strings.ContainsRune(arg, '/') {
			abs, err := o.Programs.Look(arg)
			if err != nil {
				return e, protocol.Errorf(protocol.ExitUsage, "engine_not_found", "the program %q is not in PATH", arg).
					At(step.Where).WithHint("install it, or name it by a path")
			}
			e.argv[0] = abs
			arg = abs
		}
		if filepath.IsAbs(arg) && i > 0 {
			// An absolute path into the workspace names the file all the same.
			rel, err := filepath.Rel(dirs[len(dirs)-1], arg)
			if err != nil || !filepath.IsLocal(rel) {
				continue
			}
			arg = filepath.ToSlash(rel)
			e.argv[i] = filepath.Join(at, rel) // what the engine sees is not the workspace itself
		}
		if filepath.IsAbs(arg) {
			digest, err := fileDigest(ctx, arg)
			if err != nil {
				return e, notRunnable(step, arg, err)
			}
			digests = append(digests, digest)
			continue
		}
		digest, err := inWorkspace(ctx, arg, dirs)
		switch {
		case err != nil:
			return e, notRunnable(step, arg, err)
		case digest == "" && i == 0:
			return e, protocol.Errorf(protocol.ExitUsage, "engine_not_found", "the engine %q is not a file of the workspace", arg).
				At(step.Where).WithHint("paths of engines are relative to the workspace")
		case digest != "":
			digests = append(digests, digest)
			e.files = append(e.files, path.Clean(arg))
			if i == 0 {
				e.argv[0] = filepath.Join(at, filepath.FromSlash(path.Clean(arg)))
			}
		}
	}
	var err error
	e.digest, err = plantoken.EngineDigest(digests...)
	return e, err
}

// failure gives the error of a run that failed. Of a built-in engine the exit code
// of its own error is known: what it found stale is stale. Another engine's word
// is not taken for that.
func (e engine) failure(err error, r engines.Result) error {
	if e.builtin.Name == "" {
		return err
	}
	var out struct {
		Error       string             `json:"error"`
		Diagnostics engines.Diagnostic `json:"diagnostics"`
	}
	if json.Unmarshal(r.Receipt, &out) != nil {
		return err //nolint:nilerr // without a diagnosis the failure stands as it is
	}
	switch out.Diagnostics.Exit {
	case protocol.ExitStale:
	case protocol.ExitUnreachable:
		return protocol.Errorf(protocol.ExitUnreachable, "engine_unreachable", "%s (%s)", strings.ToValidUTF8(out.Error, "?"), strings.ToValidUTF8(out.Diagnostics.Code, "?")).
			WithHint("%s", strings.ToValidUTF8(out.Diagnostics.Hint, "?"))
	default:
		return err
	}
	return protocol.Errorf(protocol.ExitStale, "engine_stale", "%s (%s)", strings.ToValidUTF8(out.Error, "?"), strings.ToValidUTF8(out.Diagnostics.Code, "?")).
		WithHint("plan again with cabincrew flight-plan")
}

// findModule finds a WebAssembly module in the workspace, or by an absolute path.
func (o *Orchestrator) findModule(ctx context.Context, step *config.Step, at string, dirs []string) (engine, error) {
	e := engine{}
	path := step.Engine.Wasm
	var digest string
	var err error
	if filepath.IsAbs(path) {
		digest, err = fileDigest(ctx, path)
		e.outside = path
	} else if digest, err = inWorkspace(ctx, path, dirs); err == nil && digest != "" {
		e.files = []string{filepath.ToSlash(filepath.Clean(path))}
		path = filepath.Join(at, filepath.Clean(filepath.FromSlash(path)))
	}
	if err == nil && digest == "" {
		err = fs.ErrNotExist
	}
	if err != nil {
		return e, notRunnable(step, step.Engine.Wasm, err)
	}
	e.digest = digest
	argv, cache, err := o.Programs.Module(path, digest, step.Timeout.Duration)
	e.argv, e.cache = slices.Concat(argv, step.Engine.Args), cache
	return e, err
}

func notRunnable(step *config.Step, arg string, err error) error {
	return protocol.Errorf(protocol.ExitUsage, "engine_not_found", "the engine's file %q cannot be read: %w", arg, err).At(step.Where)
}

// inWorkspace gives the digest of a regular file below the first directory that
// has it, or "" where none has.
func inWorkspace(ctx context.Context, arg string, dirs []string) (string, error) {
	clean := path.Clean(arg)
	if clean == "." || !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", nil
	}
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return "", err
		}
		digest, err := regularDigest(ctx, root, clean)
		_ = root.Close() // only read
		if err != nil || digest != "" {
			return digest, err
		}
	}
	return "", nil
}

func regularDigest(ctx context.Context, root *os.Root, name string) (string, error) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		// An argument that names nothing, or a directory, is just an argument.
		return "", nil //nolint:nilerr // absence is an answer
	}
	f, err := engines.OpenPlainIn(root, name)
	return engines.DigestPlain(ctx, f, err)
}

// fileDigest is the digest of a file that is a program.
func fileDigest(ctx context.Context, path string) (string, error) {
	f, err := engines.OpenPlain(path)
	return engines.DigestPlain(ctx, f, err)
}

// digestOf is the digest of an open file of a flight, which may be as large as
// artifacts may be.
func digestOf(f *os.File, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := newSHA256()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return protocol.FormatDigest(h.Sum(nil)), nil
}

func newSHA256() hash.Hash { return sha256.New() }

// copyEngineFiles puts the engine's own workspace files into its private copy,
// where its inputs did not select them.
func copyEngineFiles(e engine, from []string, to string) error {
	out, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // files are closed one by one
	for _, name := range e.files {
		if _, err := out.Lstat(name); err == nil {
			continue
		}
		if err := copyFirst(name, from, out); err != nil {
			return fmt.Errorf("copying the engine's file %s: %w", name, err)
		}
	}
	return nil
}

func copyFirst(name string, from []string, out *os.Root) error {
	for _, dir := range from {
		in, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		data, mode, err := readIn(in, name)
		_ = in.Close() // only read
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := out.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if mode&0o100 != 0 {
			perm = 0o755
		}
		return out.WriteFile(name, data, perm)
	}
	return fs.ErrNotExist
}

func readIn(root *os.Root, name string) ([]byte, fs.FileMode, error) {
	f, err := engines.OpenPlainIn(root, name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limits.ProgramBytes))
	return data, info.Mode(), err
}
