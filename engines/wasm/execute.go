package wasm

import (
	"context"
	"errors"
	"os"
	"strings"
	"unicode"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// entry is the function that a program (a WASI command) exports.
const entry = "_start"

// greatestExit is the greatest exit code that passes through; shells and kernels
// give those above another meaning, and 256 would become 0.
const greatestExit = 125

// execute compiles and runs a scanned module and gives its exit code.
func (j *job) execute(ctx context.Context, module []byte, digest string, mem *memory) (int, error) {
	rt, compiled, err := j.compile(ctx, module)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rt.Close(context.WithoutCancel(ctx)) }() // frees memory only
	if j.compileOnly {
		return 0, nil
	}
	c := &clock{}
	wasi, err := host(ctx, rt, c)
	if err != nil {
		return 0, err
	}
	if err := fits(compiled, wasi); err != nil {
		return 0, err
	}
	quiet := wazero.NewModuleConfig().WithStartFunctions() // _start is called below
	if _, err := rt.InstantiateModule(ctx, wasi, quiet.WithName(wasi_snapshot_preview1.ModuleName)); err != nil {
		return 0, err
	}
	shown, closeAll, err := j.mounts(ctx)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	config := quiet.WithName("").WithArgs(j.argv...).WithFSConfig(shown).
		WithStdin(input{j.in}).WithStdout(j.out).WithStderr(j.err).
		WithWalltime(c.wall, resolution).WithNanotime(c.monotonic, resolution).WithNanosleep(c.sleep).
		WithRandSource(random(digest, j.mode))
	for _, v := range j.contract.env {
		name, value, _ := strings.Cut(v, "=")
		config = config.WithEnv(name, value)
	}
	// What the start section calls runs here.
	m, err := rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, mem), compiled, config)
	if err == nil {
		_, err = m.ExportedFunction(entry).Call(ctx)
	}
	return exitCode(err)
}

// mounts gives the three directories.
func (j *job) mounts(ctx context.Context) (wazero.FSConfig, func(), error) {
	shared := newFiles(ctx)
	var roots []*os.Root
	closeAll := func() {
		for _, r := range roots {
			_ = r.Close() // a handle
		}
	}
	shown := wazero.NewFSConfig()
	for _, d := range j.contract.dirs {
		root, err := os.OpenRoot(d.host)
		if err != nil {
			closeAll()
			return nil, nil, contractError("%s: %w", d.variable, err)
		}
		roots = append(roots, root)
		shown = shown.(sysfs.FSConfig).WithSysFSMount(&mount{root: root, writable: d.writable, files: shared}, d.guest)
	}
	return shown, closeAll, nil
}

// fits tells whether a module is a program for what there is.
func fits(compiled, wasi wazero.CompiledModule) error {
	known := wasi.ExportedFunctions()
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		switch {
		case module == "wasi_unstable":
			return malformed("the module is made for WASI preview 0; this needs preview 1").
				WithHint("build it with a newer tool chain")
		case module != wasi_snapshot_preview1.ModuleName:
			return malformed("the module imports %q from %q; only WASI preview 1 (%s) is there", clean(name), clean(module), wasi_snapshot_preview1.ModuleName).
				WithHint("modules for browsers (js, wasm-bindgen, emscripten) and threads do not run here; build for wasip1")
		case known[name] == nil:
			return malformed("the module imports %q, which WASI preview 1 does not have", clean(name))
		}
	}
	start := compiled.ExportedFunctions()[entry]
	switch {
	case start == nil && compiled.ExportedFunctions()["_initialize"] != nil:
		return malformed("the module is a library (it has _initialize and no _start); this needs a program")
	case start == nil:
		return malformed("the module has no _start function; this needs a WASI program")
	case len(start.ParamTypes())+len(start.ResultTypes()) > 0:
		return malformed("the module's _start takes parameters or gives results; this needs a WASI program")
	case compiled.ExportedMemories()["memory"] == nil:
		return malformed("the module exports no memory; this needs a WASI program")
	}
	return nil
}

// exitCode reads how the module ended.
func exitCode(err error) (int, error) {
	var exit *sys.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, trap(err)
	case exit.ExitCode() > greatestExit:
		return 0, protocol.Errorf(protocol.ExitFailure, "wasm_exit", "the module ended with exit code %d", exit.ExitCode()).
			WithHint("0 is success, 1 a failure, 2 a failed validation")
	}
	return int(exit.ExitCode()), nil
}

// trap gives the reason of a trap and some of its stack trace.
func trap(err error) error {
	text := strings.TrimPrefix(err.Error(), "module[] function[_start] failed: ")
	reason, trace, _ := strings.Cut(text, "\n")
	reason = strings.TrimSuffix(strings.TrimPrefix(reason, "wasm error: "), " (recovered by wazero)")
	e := protocol.Errorf(protocol.ExitFailure, "wasm_trap", "the module trapped: %s", clean(reason))
	if trace != "" {
		lines := strings.Split(trace[:min(len(trace), limits.WasmTrace)], "\n")
		for i := range lines {
			lines[i] = clean(strings.ReplaceAll(lines[i], "\t", "  "))
		}
		e.Hint = strings.Join(lines, "\n  ")
	}
	return e
}

// clean makes a name out of a module fit for a terminal.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), limits.WasmTrace)]
}

// compile makes native code, out of the cache where it can.
func (j *job) compile(ctx context.Context, module []byte) (wazero.Runtime, wazero.CompiledModule, error) {
	config := wazero.NewRuntimeConfig().WithDebugInfoEnabled(false).
		// Stopping a module costs half of its speed (doc.go). Who asks for no time-out stops the process.
		WithCloseOnContextDone(j.timeout > 0).
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExtendedConst)
	if cache := openCache(j.cache); cache != nil {
		rt := wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(cache))
		compiled, err := rt.CompileModule(ctx, module)
		if err != nil {
			// A directory that cannot be written fails after compiling; then the result
			// is still in memory, and the second try is free.
			compiled, err = rt.CompileModule(ctx, module)
		}
		if err == nil {
			return rt, compiled, nil
		}
		// A damaged entry fails again; so does a module that does not compile.
		_ = rt.Close(context.WithoutCancel(ctx))
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	compiled, err := rt.CompileModule(ctx, module)
	if err != nil {
		_ = rt.Close(context.WithoutCancel(ctx))
		return nil, nil, malformed("the module does not compile: %s", clean(err.Error()))
	}
	return rt, compiled, nil
}

// openCache opens the compile cache; nil if there is none that can be used. It
// does not make the directory: who may write there is not decided here.
func openCache(dir string) wazero.CompilationCache {
	if dir == "" {
		return nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil
	}
	return cache
}
