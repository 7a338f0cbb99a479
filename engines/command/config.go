package command

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

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
			if script, err = readText("shell", value, 1<<20); err == nil {
				s.argv = []string{"sh", "-e", "-c", script}
			}
		case "dir":
			if s.dir, err = readText("dir", value, limits.PathBytes); err == nil && !fs.ValidPath(s.dir) {
				err = badConfig("dir", "%q is not a clean path inside the workspace", s.dir)
			}
		case "message":
			if s.message, err = readText("message", value, limits.CommandMessageBytes); err == nil && strings.ContainsAny(s.message, "\r\n") {
				err = badConfig("message", "it has more than one line")
			}
		default:
			err = badConfig(key, "there is no such setting; the settings are run, shell, dir and message")
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
	list, ok := value.([]any)
	if !ok || len(list) == 0 || len(list) > limits.CommandArguments {
		return nil, badConfig("run", "it must be a list of 1 to %d strings", limits.CommandArguments)
	}
	argv := make([]string, 0, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, badConfig(fmt.Sprintf("run[%d]", i), "it must be a string (put quotes around it)")
		}
		if strings.ContainsRune(s, 0) {
			return nil, badConfig(fmt.Sprintf("run[%d]", i), "it has a NUL byte")
		}
		argv = append(argv, s)
	}
	if argv[0] == "" {
		return nil, badConfig("run[0]", "the program's name is empty")
	}
	return argv, nil
}

func readText(key string, value any, most int) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok || s == "":
		return "", badConfig(key, "it must be a string that is not empty")
	case len(s) > most:
		return "", badConfig(key, "it is longer than %d bytes", most)
	case strings.ContainsRune(s, 0):
		return "", badConfig(key, "it has a NUL byte")
	}
	return s, nil
}

func badConfig(key, format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "command_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: command, with: {run: [gofmt, -w, .]}}")
}
