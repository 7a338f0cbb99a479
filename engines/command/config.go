package command

import (
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// settings is the configuration after it was checked.
type settings struct {
	argv    []string
	dir     string // slash path in the workspace, "." for its top
	message string
}

// Check says what is wrong with the settings of a step, before it is run.
func Check(with map[string]any) error {
	_, err := readSettings(with)
	return err
}

func readSettings(config map[string]any) (*settings, error) {
	s := &settings{dir: "."}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		var err error
		switch value := config[key]; key {
		case "run":
			s.argv, err = readRun(value)
		case "shell":
			if config["run"] != nil {
				return nil, badConfig("shell", "it cannot stand beside \"run\"; choose one")
			}
			var script string
			if script, err = reading.Word("shell", value, 1<<20); err == nil {
				s.argv = []string{"sh", "-e", "-c", script}
			}
		case "dir":
			if s.dir, err = reading.Word("dir", value, limits.PathBytes); err == nil && !fs.ValidPath(s.dir) {
				err = badConfig("dir", "%q is not a clean path inside the workspace", s.dir)
			}
		case "message":
			if s.message, err = reading.Word("message", value, limits.CommandMessageBytes); err == nil && strings.ContainsAny(s.message, "\r\n") {
				err = badConfig("message", "it has more than one line")
			}
		default:
			err = reading.Unknown(key, "the settings are run, shell, dir and message")
		}
		if err != nil {
			return nil, err
		}
	}
	if s.argv == nil {
		return nil, badConfig("run", "it is missing: the program to run and its arguments")
	}
	return s, nil
}

func readRun(value any) ([]string, error) {
	var argv []string
	err := reading.List("run", value, 1, limits.CommandArguments, "strings", func(at string, v any) error {
		s, ok := v.(string)
		switch {
		case !ok:
			return badConfig(at, "it must be a string (put quotes around it)")
		case strings.ContainsRune(s, 0):
			return badConfig(at, "it has a NUL byte")
		}
		argv = append(argv, s)
		return nil
	})
	if err == nil && argv[0] == "" {
		err = badConfig("run[0]", "the program's name is empty")
	}
	return argv, err
}

// reading reads values.
var reading = kit.Settings(badConfig)

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "command_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: command, with: {run: [gofmt, -w, .]}}")
}
