package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/protocol"
)

// trial is one run of the engine.
type trial struct {
	name      string // for messages
	mode      protocol.Mode
	workspace string
	artifacts string // "" for a new empty directory
	workflow  string
	config    map[string]any // beside the options' settings
	stage     *stage         // nil: the engine is started as a flight starts it
	input     []byte         // takes the input's place, with stage.Input
}

// outcome is how a run ended.
type outcome struct {
	engines.Result
	receipt   protocol.EngineOutput
	err       error // why a step would fail
	artifacts string
	log       *tail
}

// Pauses where the engine's file is still open for writing in a process that was
// forked at the wrong moment.
const (
	busyTries = 20
	busyPause = 20 * time.Millisecond
)

// run runs the engine once. The error tells of a run that could not be made.
func (b *bench) run(ctx context.Context, t trial) (outcome, error) {
	var out outcome
	var err error
	for range busyTries {
		out, err = b.once(ctx, t)
		if err != nil || out.err == nil || !strings.Contains(out.err.Error(), "text file busy") {
			break
		}
		if err = b.o.Wait(ctx, busyPause); err != nil {
			break
		}
	}
	return out, err
}

func (b *bench) once(ctx context.Context, t trial) (outcome, error) {
	out := outcome{artifacts: t.artifacts, log: &tail{}}
	temp, err := b.dir("temp")
	if err != nil {
		return out, err
	}
	if out.artifacts == "" {
		if out.artifacts, err = b.dir("artifacts"); err != nil {
			return out, err
		}
	}
	spec, err := b.spec(t, temp, out.artifacts)
	if err != nil {
		return out, err
	}
	logged := b.finder.Detector()
	spec.Log = io.MultiWriter(out.log, logged)
	out.Result, err = b.o.Runner.Run(ctx, spec)
	if err != nil && !ofTheEngine(err) {
		return out, fmt.Errorf("running the engine (%s): %w", t.name, err)
	}
	if out.err = err; err == nil {
		out.receipt, out.err = engines.ReadReceipt(out.Result, t.mode)
	}
	if t.stage != nil && out.ExitCode == exitStage && strings.Contains(string(out.log.data), stagePrefix) {
		return out, protocol.Errorf(protocol.ExitFailure, "check_stage", "the engine could not be started in other surroundings%s", out.log.said()).
			WithHint("name further programs that it needs with --tool")
	}
	b.witness(t, out, logged.Found() != "")
	return out, nil
}

// ofTheEngine says whether an error of a run is something that the engine did.
func ofTheEngine(err error) bool {
	for _, code := range []string{"engine_start", "receipt_twice", "receipt_malformed"} {
		if errors.Is(err, protocol.Code(code)) {
			return true
		}
	}
	return false
}

// witness keeps what a run shows beside its result.
func (b *bench) witness(t trial, out outcome, logged bool) {
	for _, a := range out.Isolation.Attempts {
		b.attempts[a.Call] += a.Count
	}
	if out.Survivors > 0 {
		b.survivors[t.name] = max(b.survivors[t.name], out.Survivors)
	}
	if logged {
		b.leaks = append(b.leaks, "the log of "+t.name)
	}
	if d := b.finder.Detector(); len(out.Receipt) > 0 {
		_, _ = d.Write(out.Receipt) // a detector never fails
		if d.Found() != "" {
			b.leaks = append(b.leaks, "the receipt of "+t.name)
		}
	}
}

func (b *bench) spec(t trial, temp, artifacts string) (engines.Spec, error) {
	config := map[string]any{}
	maps.Copy(config, b.o.Config)
	maps.Copy(config, t.config)
	spec := engines.Spec{
		Workspace: t.workspace, ArtifactsDir: artifacts, TempDir: temp, Timeout: b.o.Timeout, Hold: b.hold(t),
		Env: map[string]string{},
		Input: protocol.EngineInput{
			ProtocolVersion: protocol.ProtocolVersion, Mode: t.mode, Meta: protocol.EngineMeta{WorkflowID: t.workflow, StepID: stepID},
			Config: config, Secrets: b.secrets, Orchestrator: &protocol.EngineOrchestrator{WorkspaceHash: protocol.Digest([]byte(b.o.Name))},
		},
	}
	for name := range b.secrets {
		spec.Input.AllowedSecrets = append(spec.Input.AllowedSecrets, name)
	}
	argv := append([]string(nil), b.o.Argv...)
	for _, f := range b.o.Files {
		argv[f.Index] = filepath.Join(t.workspace, filepath.FromSlash(f.Path))
	}
	spec.Argv = argv
	if t.stage == nil {
		return spec, nil
	}
	if t.input != nil {
		if err := os.WriteFile(filepath.Join(temp, stageInput), t.input, 0o600); err != nil {
			return spec, err
		}
	}
	if err := b.reachable(&spec); err != nil {
		return spec, err
	}
	order, err := json.Marshal(t.stage)
	if err != nil {
		return spec, err
	}
	spec.Argv = append(append(append([]string(nil), b.o.Stage...), string(order), "--"), spec.Argv...)
	return spec, nil
}

// hold gives how a run is held.
func (b *bench) hold(t trial) engines.Hold {
	h := b.o.Hold
	h.ReadOnly, h.Writable = map[string]string{}, map[string]string{}
	maps.Copy(h.ReadOnly, b.o.Hold.ReadOnly)
	maps.Copy(h.Writable, b.o.Hold.Writable)
	if t.mode != protocol.TakeOff {
		return h
	}
	if _, err := os.Lstat(filepath.Join(t.workspace, ".git")); err == nil {
		h.Kept = []string{".git"}
	}
	return h
}

// engineDir names the directory through which a staged engine is reached.
const engineDir = "CABINCREW_CHECK_ENGINE_DIR"

// reachable lets the stage execute the engine. The sandbox shows a run its own
// program, which here is the stage; the engine must be shown beside it.
func (b *bench) reachable(spec *engines.Spec) error {
	at := spec.Argv[0]
	if len(spec.Hold.Tools) > 0 {
		spec.Hold.Tools = append(append([]engines.Tool(nil), spec.Hold.Tools...), engines.Tool{Path: interpreterOf(at)})
		if interpreterOf(at) == "" {
			spec.Hold.Tools = spec.Hold.Tools[:len(spec.Hold.Tools)-1]
		}
	}
	if inside(spec.Workspace, at) || b.visible(at) {
		return nil
	}
	dir, err := b.dir("engine")
	if err != nil {
		return err
	}
	from, err := filepath.EvalSymlinks(at)
	if err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.Base(at))
	if err := os.Link(from, to); err != nil { // another file system
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }() // the file is closed
		if err := copyIn(from, root, filepath.Base(at)); err != nil {
			return err
		}
	}
	spec.Hold.ReadOnly[engineDir] = dir
	spec.Argv[0] = to
	return nil
}

// visible says whether the sandbox shows a program without further ado.
func (b *bench) visible(at string) bool {
	dirs := []string{"/bin", "/sbin", "/usr"}
	if len(b.o.Hold.Tools) > 0 {
		dirs = nil
		for _, t := range b.o.Hold.Tools {
			dirs = append(dirs, t.Path)
		}
	}
	for _, dir := range dirs {
		if inside(dir, at) {
			return true
		}
	}
	return false
}

func inside(dir, at string) bool { return at == dir || strings.HasPrefix(at, dir+"/") }

// interpreterOf gives the program that a script names in its first line, or "".
func interpreterOf(at string) string {
	f, err := os.Open(at) //nolint:gosec // the engine, which is executed
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	head := make([]byte, 256)
	n, _ := io.ReadFull(f, head) // a short file is whole
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	rest, ok := strings.CutPrefix(line, "#!")
	words := strings.Fields(rest)
	if !ok || len(words) == 0 || !filepath.IsAbs(words[0]) {
		return ""
	}
	return words[0]
}
