package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/engines"
	enginecheck "github.com/cabincrew/action/engines/check"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// stageProgram is the hidden program that engine check starts engines through.
const stageProgram = "check-stage"

// Formats of engine check beside text and json.
const formatJUnit = "junit"

// checkFlags are those of engine check.
type checkFlags struct {
	use, with, config, workspace, format, isolation string
	tools, secrets, skip                            []string
	timeout                                         time.Duration
}

func (a *app) engineCheckCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use: "check [flags] [ENGINE | -- CMD ARG...]", Short: "Check that an engine keeps the engine contract",
		Long: `Runs an engine as a flight would, and in ways in which no flight should, and says
where it does not keep the engine contract: docs/writing-an-engine.md.

ENGINE is an executable file or a WASI module (.wasm). CMD and ARG are a command
line as a step's engine.run has it; files that it names, relative to this
directory or to --workspace, are put into the workspace. --use checks a built-in
engine. Everything runs over copies; take-off runs too, over a copy.

Exit 0: no check failed; 1: one failed; 2: wrong use.`,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			// These two have variables that mean something else.
			for name, value := range map[string]*string{"config": &f.config, "workspace": &f.workspace} {
				if !cmd.Flags().Changed(name) {
					*value = ""
				}
			}
			return a.engineCheck(cmd.Context(), f, args)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.use, "use", "", "check the built-in engine of this name")
	flags.StringVar(&f.with, "with", "", "file with the built-in engine's settings, as JSON")
	flags.StringVar(&f.config, "config", "", "file with the settings that the engine gets as config, as JSON")
	flags.StringVar(&f.workspace, "workspace", "", "sample workspace (default a small generated one)")
	flags.StringVar(&f.format, "format", outputText, "text, json or junit")
	flags.StringVar(&f.isolation, "isolation", config.IsolationAuto, "auto (as in a flight) or none")
	flags.StringArrayVar(&f.tools, "tool", nil, "a program that the engine may execute, as in a step's tools; may be repeated")
	flags.StringArrayVar(&f.secrets, "secret", nil, "name of a secret that the engine gets, with a made-up value; may be repeated")
	flags.StringArrayVar(&f.skip, "skip", nil, "id of a check to leave out; may be repeated")
	flags.DurationVar(&f.timeout, "timeout", limits.CheckTimeout, "how long one run of the engine may take")
	return cmd
}

func (a *app) engineCheck(ctx context.Context, f checkFlags, args []string) (err error) {
	switch {
	case !slices.Contains([]string{outputText, outputJSON, formatJUnit}, f.format):
		return usageError("usage", "--format is %q; it is text, json or junit", f.format)
	case f.isolation != config.IsolationAuto && f.isolation != config.IsolationNone:
		return usageError("usage", "--isolation is %q; it is auto or none", f.isolation)
	case f.timeout <= 0 || f.timeout > limits.StepTimeoutMax:
		return usageError("usage", "--timeout is %s; it is more than 0s and at most %s", f.timeout, limits.StepTimeoutMax)
	}
	if f.format == outputJSON || a.flags.output == outputJSON {
		f.format, a.flags.output = outputJSON, outputJSON // an error is a document too
	}
	temp, err := os.MkdirTemp("", "cabincrew-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	o := enginecheck.Options{
		Runner: process.Runner{Proxy: newProxy}, Secrets: f.secrets, Skip: f.skip, Timeout: f.timeout,
		Temp: filepath.Join(temp, "runs"), Faketime: faketime(), Now: time.Now, Wait: wait,
		Progress: func(id string) { _, _ = fmt.Fprintf(a.err, "checking %s\n", id) }, // there is nowhere else to tell
	}
	if err := os.Mkdir(o.Temp, 0o700); err != nil {
		return err
	}
	if err := a.checked(&f, args, temp, &o); err != nil {
		return err
	}
	if err := a.checkHold(ctx, f, &o); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "engine %s, isolation tier %s\n", oneLine(o.Name), o.Hold.Tier) // as above
	report, err := enginecheck.Run(ctx, o)
	if err != nil {
		return err
	}
	return a.checkReport(report, f.format)
}

func (a *app) checkReport(report enginecheck.Report, format string) error {
	switch format {
	case outputJSON:
		a.printJSON(report)
	case formatJUnit:
		data, err := enginecheck.JUnit(report)
		if err != nil {
			return err
		}
		if _, err := a.out.Write(tameXML(data)); err != nil {
			return err
		}
	default:
		a.text(enginecheck.Text(report))
	}
	if report.Failed > 0 {
		return reportedError{exit(protocol.ExitFailure)}
	}
	return nil
}

// wait waits, unless the context ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// faketime finds a library that gives programs another clock.
func faketime() string {
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// checked fills in what is checked: the engine, its settings and its workspace.
func (a *app) checked(f *checkFlags, args []string, temp string, o *enginecheck.Options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.Stage = []string{self, "engine", "run", stageProgram}
	if f.workspace != "" {
		if o.Workspace, err = filepath.Abs(f.workspace); err == nil {
			o.Workspace, err = filepath.EvalSymlinks(o.Workspace)
		}
		if info, statErr := os.Stat(o.Workspace); err == nil && (statErr != nil || !info.IsDir()) {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return usageError("usage", "--workspace %s: %w", f.workspace, err)
		}
	}
	file := f.config
	if f.with != "" {
		if f.config != "" || f.use == "" {
			return usageError("usage", "--with goes with --use and without --config")
		}
		file = f.with
	}
	if file != "" {
		if o.Config, err = engineConfig(file); err != nil {
			return err
		}
	}
	switch {
	case f.use != "" && len(args) > 0:
		return usageError("usage", "--use names an engine already; %q is too much", args[0])
	case f.use != "":
		return a.checkedBuiltin(f.use, self, o)
	case len(args) == 0:
		return usageError("usage", "engine check needs an engine").WithHint("cabincrew engine check ./my-engine, or cabincrew engine check -- python3 my-engine.py")
	case strings.HasSuffix(args[0], ".wasm"):
		return checkedModule(args, temp, o)
	}
	return a.checkedCommand(args, o)
}

// engineConfig reads settings for an engine.
func engineConfig(name string) (map[string]any, error) {
	refuse := func(err error) error {
		return usageError("check_config", "the settings cannot be read: %w", err).At(name).WithHint("write one JSON object, as config: or with: of a step would hold it")
	}
	in, err := os.Open(name) //nolint:gosec // its user names it
	if err != nil {
		return nil, refuse(err)
	}
	defer func() { _ = in.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(in, limits.CheckConfigFile+1))
	if err == nil && len(data) > limits.CheckConfigFile {
		err = fmt.Errorf("there are more than %d bytes", limits.CheckConfigFile)
	}
	if err != nil {
		return nil, refuse(err)
	}
	tree, err := protocol.DecodeAny(data)
	if err != nil {
		return nil, refuse(err)
	}
	settings, ok := tree.(map[string]any)
	if !ok {
		return nil, refuse(errors.New("it is not an object"))
	}
	return settings, nil
}

func (*app) checkedBuiltin(name, self string, o *enginecheck.Options) error {
	for _, b := range builtins() {
		if b.Name != name {
			continue
		}
		if err := b.check(o.Config); err != nil {
			return err
		}
		o.Name, o.Argv = name, []string{self, "engine", "run", name}
		if b.Git && o.Workspace != "" {
			o.Hold.ReadOnly = map[string]string{"CABINCREW_GIT_DIR": filepath.Join(o.Workspace, ".git")}
		}
		return nil
	}
	return usageError("engine_unknown", "there is no built-in engine %q", name).WithHint("see cabincrew engine list")
}

// checkedModule makes the command line that runs a module. Compiled code is kept
// for this command only.
func checkedModule(args []string, temp string, o *enginecheck.Options) error {
	at, err := engineFile(args[0])
	if err != nil {
		return err
	}
	argv, _, err := (programs{}).Module(at, "", o.Timeout)
	if err != nil {
		return err
	}
	cache := filepath.Join(temp, "cache")
	if err := os.Mkdir(cache, 0o700); err != nil {
		return err
	}
	o.Name, o.FixedClock, o.Hold.Writable = filepath.Base(at), true, map[string]string{"CABINCREW_CACHE_DIR": cache}
	o.Files = []enginecheck.File{{Index: len(argv) - 1, Path: inWorkspaceOf(at, o.Workspace), Source: at}}
	o.Argv = slices.Concat(argv, args[1:])
	return nil
}

// checkedCommand finds the program and the files that a command line names.
func (a *app) checkedCommand(args []string, o *enginecheck.Options) error {
	o.Argv = slices.Clone(args)
	if !strings.Contains(args[0], "/") {
		at, err := (programs{env: a.env}).Look(args[0])
		if err != nil {
			return usageError("engine_not_found", "the program %q is not in PATH", args[0]).
				WithHint("name a file of this directory with ./%s", args[0])
		}
		o.Argv[0], o.Name = at, args[0]
	} else {
		at, err := engineFile(args[0])
		if err != nil {
			return err
		}
		o.Argv[0], o.Name = at, filepath.Base(at)
		if !filepath.IsAbs(args[0]) || o.Workspace != "" && strings.HasPrefix(at, o.Workspace+"/") {
			o.Files = append(o.Files, enginecheck.File{Path: inWorkspaceOf(at, o.Workspace), Source: at})
		}
	}
	for i, arg := range args[1:] {
		at, err := engineFile(arg)
		if err != nil || strings.HasPrefix(arg, "-") {
			continue // an argument that names no file is just an argument
		}
		o.Files = append(o.Files, enginecheck.File{Index: i + 1, Path: inWorkspaceOf(at, o.Workspace), Source: at})
		if o.Name = filepath.Base(at); !strings.Contains(args[0], "/") {
			o.Name = args[0] + " " + o.Name
		}
	}
	return nil
}

// engineFile finds a file of an engine.
func engineFile(name string) (string, error) {
	refuse := func(err error) error {
		return usageError("engine_not_found", "the engine's file %q cannot be read: %w", name, err)
	}
	at, err := filepath.Abs(name)
	if err != nil {
		return "", refuse(err)
	}
	info, err := os.Stat(at)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return "", refuse(err)
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
		at = filepath.Join(dir, filepath.Base(at))
	}
	return at, nil
}

// inWorkspaceOf gives where a file of the engine lies in a workspace: where it is
// below the sample or below this directory, else under its own name at the top.
func inWorkspaceOf(at, sample string) string {
	here, err := filepath.Abs(".")
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	dirs := []string{sample}
	if err == nil {
		dirs = append(dirs, here)
	}
	for _, dir := range dirs {
		if rel, err := filepath.Rel(dir, at); dir != "" && err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return filepath.Base(at)
}

// checkHold decides how the engine is held, as a flight would.
func (a *app) checkHold(ctx context.Context, f checkFlags, o *enginecheck.Options) error {
	o.Hold.Tier = sandbox.TierC
	for _, name := range f.tools {
		at := name
		if !filepath.IsAbs(name) {
			var err error
			if at, err = (programs{env: a.env}).Look(name); err != nil {
				return usageError("tool_not_found", "the tool %q cannot be had: %w", name, err).WithHint("install it, or name it by an absolute path")
			}
		}
		if _, err := os.Stat(at); err != nil {
			return usageError("tool_not_found", "the tool %q cannot be had: %w", name, err).WithHint("install it, or name it by an absolute path")
		}
		o.Hold.Tools = append(o.Hold.Tools, engines.Tool{Name: name, Path: at})
	}
	if f.isolation == config.IsolationNone {
		return nil
	}
	found := a.isolation(nil)(ctx)
	if found.Isolation.Tier == sandbox.TierC {
		return protocol.Errorf(protocol.ExitUnreachable, "isolation_unavailable", "the engine cannot be isolated on this machine").
			WithHint("cabincrew doctor tells why; --isolation none runs the engine without any")
	}
	o.Hold.Tier, o.Hold.Sudo = found.Isolation.Tier, found.Sudo
	return nil
}
