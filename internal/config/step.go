package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
)

var (
	durationText = lazily(`^(?:[0-9]{1,9}(?:ms|s|m|h)){1,4}$`)
	sizeText     = lazily(`^([0-9]{1,15})(B|KiB|MiB|GiB|TiB)$`)
)

func (r *reader) step(n *yaml.Node, p string) Step {
	o := r.object(n, p, "id", "needs", "engine", "config", "inputs", "env", "secrets", "timeout", "target",
		"idempotent", "isolation", "limits", "hosts", "tunnels", "tools", "model", "take_off")
	o.require("id", "engine")
	s := Step{
		Where:     r.where(n),
		ID:        o.text("id", "", stepID),
		Needs:     o.texts("needs", 0, true, stepID),
		Config:    o.free("config"),
		Inputs:    o.texts("inputs", 0, true, glob),
		Env:       r.env(o),
		Secrets:   r.secrets(o),
		Timeout:   o.duration("timeout", limits.StepTimeoutText, limits.StepTimeoutMax),
		Target:    o.text("target", "", plain),
		Isolation: o.text("isolation", IsolationAuto, oneOf(IsolationAuto, IsolationRequired, IsolationNone)),
		Limits:    r.limits(o),
		Hosts:     o.texts("hosts", 0, true, host),
		Tunnels:   o.texts("tunnels", 0, true, tunnel),
		Tools:     o.texts("tools", 0, true, tool),
		Model:     o.text("model", ModelNone, plain),
	}
	s.Idempotent, s.idempotentSet = o.bool("idempotent")
	s.TakeOffWorkspace = r.takeOffOf(o, &s)
	r.engine(o, &s)
	if at, where := o.at("config"); at != nil && s.Engine.Use != "" {
		r.failf(at, "config_value", "move it to "+p+".engine.with", "%s is for an engine with run", where)
	}
	return s
}

// takeOffOf reads what a step's take-off is given.
func (r *reader) takeOffOf(step *object, s *Step) string {
	n, p := step.at("take_off")
	o := r.object(n, p, "workspace")
	given := o.text("workspace", WorkspaceFull, oneOf(WorkspaceFull, WorkspaceNone))
	if at, where := o.at("workspace"); given == WorkspaceNone && s.Isolation == IsolationNone {
		r.failf(at, "config_value", "leave isolation: none out", "%s needs isolation: nothing keeps an engine that is not isolated from the workspace", where)
	}
	return given
}

func (r *reader) engine(step *object, s *Step) {
	n, p := step.at("engine")
	o := r.object(n, p, "use", "with", "run", "wasm", "oci", "args", "oci_layout", "resolve")
	if o == nil {
		return
	}
	var kinds []string
	for _, kind := range []string{"use", "run", "wasm", "oci"} {
		if at, _ := o.at(kind); at != nil {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0:
		r.failf(n, "config_missing", "add use: NAME for a built-in engine, run: [COMMAND, ARGUMENT…] for one of your own, wasm: FILE or oci: IMAGE", "%s says neither use, run, wasm nor oci", p)
		return
	case len(kinds) > 1:
		at, where := o.at(kinds[1])
		r.failf(at, "config_value", "remove one of them", "%s cannot stand beside %s.%s", where, p, kinds[0])
		return
	}
	for key, of := range map[string]string{"with": "use", "oci_layout": "oci", "resolve": "oci"} {
		if at, where := o.at(key); at != nil && kinds[0] != of {
			hint := "remove it"
			if key == "with" {
				hint = "configure an engine of your own by the step's config"
			}
			r.failf(at, "config_value", hint, "%s is for an engine with %s", where, of)
			return
		}
	}
	if at, where := o.at("args"); at != nil && kinds[0] != "wasm" && kinds[0] != "oci" {
		r.failf(at, "config_value", "put the arguments into run", "%s is for an engine with wasm or oci", where)
		return
	}
	switch kinds[0] {
	case "use":
		use, _ := o.at("use")
		s.Engine = Engine{Use: o.text("use", "", matching(engineName, "an engine's name")), With: o.free("with")}
		s.engineAt = r.where(use)
	case "wasm":
		s.Engine = Engine{Wasm: o.text("wasm", "", program), Args: o.texts("args", 0, false, argument)}
	case "oci":
		s.Engine = Engine{OCI: o.text("oci", "", plain), Args: o.texts("args", 0, false, argument), Layout: o.text("oci_layout", "", program)}
		s.Engine.Resolve, _ = o.bool("resolve")
	default:
		run, _ := o.at("run")
		s.Engine = Engine{Run: o.texts("run", 1, false, argument)}
		if len(s.Engine.Run) > 0 && s.Engine.Run[0] == "" {
			r.failf(run, "config_value", "name the program first", "%s begins with an empty text", p+".run")
		}
	}
}

func (r *reader) env(step *object) map[string]EnvValue {
	out := map[string]EnvValue{}
	step.entries("env", engineVariable, func(name, p string, n *yaml.Node) {
		text, ok := r.text(n, p, func(s string) (string, string) {
			if src, from := strings.CutPrefix(s, sourceEnv); from {
				return envVariable(src)
			}
			return argument(s)
		})
		if !ok {
			return
		}
		if src, from := strings.CutPrefix(text, sourceEnv); from {
			out[name] = EnvValue{From: src}
			return
		}
		out[name] = EnvValue{Literal: text}
	})
	return out
}

func (r *reader) secrets(step *object) map[string]Secret {
	out := map[string]Secret{}
	step.entries("secrets", engineVariable, func(name, p string, n *yaml.Node) {
		var text string
		var plan, ok bool
		if n.Kind == yaml.MappingNode {
			o := r.object(n, p, "from", "plan")
			o.require("from")
			from, where := o.at("from")
			if from == nil {
				return
			}
			plan, _ = o.bool("plan")
			text, ok = r.source(from, where)
		} else {
			text, ok = r.source(n, p)
		}
		if !ok {
			return
		}
		s := Secret{Plan: plan}
		if file, isFile := strings.CutPrefix(text, sourceFile); isFile {
			s.File = path.Clean(file)
		} else {
			s.Env = strings.TrimPrefix(text, sourceEnv)
		}
		out[name] = s
	})
	return out
}

// source reads where a secret comes from. What stands there instead may be the
// secret itself, pasted: no message repeats it.
func (r *reader) source(n *yaml.Node, p string) (string, bool) {
	if n.Kind == yaml.ScalarNode {
		if k := scalarKind(n); k != kindText {
			r.failf(n, "config_type", secretHint, "%s must be text, not %s", p, k)
			return "", false
		}
	}
	return r.text(n, p, secretSource)
}

const secretHint = "write env:VARIABLE or file:PATH; a secret never stands in the configuration"

func secretSource(s string) (string, string) {
	if src, ok := strings.CutPrefix(s, sourceEnv); ok {
		return envVariable(src)
	}
	if file, ok := strings.CutPrefix(s, sourceFile); ok {
		return secretFile(file)
	}
	return "is not a source", secretHint
}

func (r *reader) limits(step *object) Limits {
	n, p := step.at("limits")
	o := r.object(n, p, "receipt", "log", "artifacts", "artifact_bytes")
	return Limits{
		Receipt:       o.size("receipt", limits.Receipt, limits.ReceiptBytesMax),
		Log:           o.size("log", limits.EngineLog, limits.LogBytesMax),
		Artifacts:     o.int("artifacts", limits.Artifacts, 1, limits.ArtifactsMax),
		ArtifactBytes: o.size("artifact_bytes", limits.ArtifactBytes, limits.ArtifactBytesMax),
	}
}

// size reads a count of bytes: a whole number, or text with a unit.
func (o *object) size(key string, def, most int64) int64 {
	n, _ := o.at(key)
	if n == nil || n.Kind != yaml.ScalarNode || scalarKind(n) != kindText {
		return o.int(key, def, 1, most)
	}
	size := def
	o.text(key, "", func(s string) (string, string) {
		v, ok := parseSize(s)
		switch {
		case !ok:
			return fmt.Sprintf("is not a size: %q", short(s)), "write a number of bytes, or a size such as 64MiB"
		case v < 1 || v > most:
			return fmt.Sprintf("is out of bounds: %q", short(s)), fmt.Sprintf("from 1 to %d bytes", most)
		}
		size = v
		return "", ""
	})
	return size
}

func parseSize(s string) (int64, bool) {
	m := sizeText().FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, false
	}
	shift := map[string]uint{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
	if v > maxSafe>>shift {
		return 0, false
	}
	return v << shift, true
}
