package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

// engines looks for what each step runs.
func (d *doctor) engines() {
	if d.config == nil {
		d.add("engines", doctorSkip, "the configuration is not valid", "")
		return
	}
	bad := false
	for i := range d.config.Steps {
		step := &d.config.Steps[i]
		argv, path := step.Engine.Run, d.app.env["PATH"]
		if step.Engine.Use != "" {
			// What a built-in engine runs, it looks up in the PATH of engines.
			argv, path = texts(step.Engine.With["run"]), process.Path
		}
		if len(argv) > 0 && !d.found(step, argv[0], path) {
			bad = true
			d.fail(protocol.ExitUnreachable, "engines", fmt.Sprintf("step %s runs %q, which is not there", step.ID, argv[0]),
				"install it, or name it by a path; engines find programs in "+path)
		}
		for _, name := range step.Tools {
			if err := d.tool(name); err != nil {
				bad = true
				d.fail(protocol.ExitUnreachable, "engines", fmt.Sprintf("the tool %q of step %s cannot be had: %s", name, step.ID, err), "install it, or name it by an absolute path")
			}
		}
	}
	d.modules()
	if !bad {
		d.add("engines", doctorPass, fmt.Sprintf("the programs of %d steps are there", len(d.config.Steps)), "")
	}
}

// modules says where compiled modules are kept, if a step runs one.
func (d *doctor) modules() {
	for _, step := range d.config.Steps {
		if step.Engine.Wasm == "" {
			continue
		}
		dir, err := compiled(d.app.env, d.place.workspace, "")
		if err != nil {
			d.add("module cache", doctorPass, "none, modules are compiled each time: "+err.Error(), "")
			return
		}
		d.add("module cache", doctorPass, dir, "")
		return
	}
}

// tool says why a tool of a step cannot be had: it is a program or a directory.
func (d *doctor) tool(name string) error {
	if !filepath.IsAbs(name) {
		var err error
		if name, err = (programs{env: d.app.env}).Look(name); err != nil {
			return err
		}
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	f, err := engines.OpenPlain(name)
	if err != nil {
		return err
	}
	return f.Close()
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (d *doctor) found(step *config.Step, name, path string) bool {
	if !strings.ContainsRune(name, '/') {
		if mapped, ok := step.Env["PATH"]; ok && mapped.From == "" {
			path = mapped.Literal
		}
		_, err := (programs{env: map[string]string{"PATH": path}}).Look(name)
		return err == nil
	}
	if len(step.Needs) > 0 && !filepath.IsAbs(name) {
		return true // an earlier step may make it
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.place.workspace, filepath.FromSlash(name))
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
