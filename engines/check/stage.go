package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// stage says in what surroundings an engine is started. It is given to Stage as
// JSON, in front of the engine's command line.
type stage struct {
	Env     map[string]string `json:"env,omitempty"`
	Home    bool              `json:"home,omitempty"`    // another home directory
	Umask   *int              `json:"umask,omitempty"`   // nil: as it is
	Reverse bool              `json:"reverse,omitempty"` // the environment backwards
	OneCPU  bool              `json:"one_cpu,omitempty"` // no other processor
	Input   string            `json:"input,omitempty"`   // "none" or "given"; "": as it is
}

const (
	noInput    = "none"
	givenInput = "given"

	exitStage   = 126
	stagePrefix = "engine check: "
	stageInput  = "check-input" // file in the temp dir that takes the input's place
)

// readStage parts the arguments into what to do and what to run.
func readStage(args []string) (stage, []string, error) {
	var s stage
	if len(args) < 3 || args[1] != "--" {
		return s, nil, errors.New("the arguments are not those of engine check")
	}
	d := json.NewDecoder(strings.NewReader(args[0]))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, nil, fmt.Errorf("reading what to do: %w", err)
	}
	return s, args[2:], nil
}

// environment changes an environment as the stage says.
func (s stage) environment(env []string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := s.Env[name]
		return replaced || name == engineDir || s.Home && name == "HOME"
	})
	for name, value := range s.Env {
		out = append(out, name+"="+value)
	}
	if s.Home {
		out = append(out, "HOME="+filepath.Join(lookup(env, "CABINCREW_TEMP_DIR"), elsewhere))
	}
	slices.Sort(out)
	if s.Reverse {
		slices.Reverse(out)
	}
	return out
}

// elsewhere is the other home, in the temp dir.
const elsewhere = "elsewhere"

func lookup(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
