package terraform

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// settings is the configuration after it was checked.
type settings struct {
	binary      string
	dir         string // slash path in the workspace, "." for its top
	vars        map[string]string
	varFiles    []string
	targets     []string
	backend     map[string]string
	env         []string
	recipients  []age.Recipient
	plaintext   bool
	identity    string
	refresh     bool
	destroy     bool
	parallelism int
	lockTimeout time.Duration
}

var (
	programName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	backendName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	secretName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Check says what is wrong with the settings of a step, before it is run.
func Check(with map[string]any) error {
	_, err := readSettings(with)
	return err
}

func readSettings(with map[string]any) (*settings, error) {
	s := &settings{binary: "terraform", dir: ".", identity: DefaultIdentity, refresh: true}
	for _, key := range slices.Sorted(maps.Keys(with)) {
		if err := s.read(key, with[key]); err != nil {
			return nil, err
		}
	}
	switch {
	case s.plaintext && len(s.recipients) > 0:
		return nil, badConfig("plaintext_state", "it cannot stand beside \"encrypt_to\"; choose one")
	case !s.plaintext && len(s.recipients) == 0:
		return nil, badConfig("encrypt_to", "it is missing: a saved plan holds secrets, so it is encrypted to age recipients")
	}
	return s, nil
}

func (s *settings) read(key string, value any) (err error) {
	switch key {
	case "binary":
		if s.binary, err = readText(key, value); err == nil && !programName.MatchString(s.binary) && !filepath.IsAbs(s.binary) {
			err = badConfig(key, "%q is neither the name of a program nor an absolute path", s.binary)
		}
	case "dir":
		if s.dir, err = readText(key, value); err == nil {
			err = checkPath(key, s.dir)
		}
	case "var":
		s.vars, err = readMap(key, value, variableName)
	case "var_files":
		if s.varFiles, err = readList(key, value); err == nil {
			err = each(key, s.varFiles, checkPath)
		}
	case "targets":
		s.targets, err = readList(key, value)
	case "backend_config":
		s.backend, err = readMap(key, value, backendName)
	case "env":
		if s.env, err = readList(key, value); err == nil {
			err = each(key, s.env, checkSecret)
		}
	case "encrypt_to":
		s.recipients, err = readRecipients(key, value)
	case "plaintext_state":
		s.plaintext, err = reading.Bool(key, value)
	case "identity":
		if s.identity, err = readText(key, value); err == nil && !secretName.MatchString(s.identity) {
			err = badConfig(key, "%q is not the name of a secret", s.identity)
		}
	case "refresh":
		s.refresh, err = reading.Bool(key, value)
	case "destroy":
		s.destroy, err = reading.Bool(key, value)
	case "parallelism":
		s.parallelism, err = readCount(key, value)
	case "lock_timeout":
		s.lockTimeout, err = readDuration(key, value)
	default:
		err = reading.Unknown(key, "the settings are binary, dir, var, var_files, targets, backend_config, env, "+
			"encrypt_to, plaintext_state, identity, refresh, destroy, parallelism and lock_timeout")
	}
	return err
}

func readText(key string, value any) (string, error) {
	return reading.Word(key, value, limits.TerraformText)
}

func readList(key string, value any) ([]string, error) {
	out := []string{}
	err := reading.List(key, value, 0, limits.TerraformList, "strings", func(at string, v any) error {
		text, err := readText(at, v)
		out = append(out, text)
		return err
	})
	return out, err
}

func readMap(key string, value any, name *regexp.Regexp) (map[string]string, error) {
	m, ok := value.(map[string]any)
	if !ok || len(m) > limits.TerraformList {
		return nil, badConfig(key, "it must be a map of at most %d strings", limits.TerraformList)
	}
	out := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !name.MatchString(k) {
			return nil, badConfig(key, "%q is not a name that can stand here", k)
		}
		if m[k] == "" {
			out[k] = "" // an empty value is one, too
			continue
		}
		text, err := readText(key+"."+k, m[k])
		if err != nil {
			return nil, err
		}
		out[k] = text
	}
	return out, nil
}

func readCount(key string, value any) (int, error) {
	n := 0
	switch v := value.(type) {
	case json.Number:
		n, _ = strconv.Atoi(v.String()) // what does not fit is 0, and refused below
	case int:
		n = v
	case int64:
		n = int(min(v, limits.TerraformParallelism+1))
	}
	if n < 1 || n > limits.TerraformParallelism {
		return 0, badConfig(key, "it must be a number from 1 to %d", limits.TerraformParallelism)
	}
	return n, nil
}

func readDuration(key string, value any) (time.Duration, error) {
	text, err := readText(key, value)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > limits.TerraformLockTimeout {
		return 0, badConfig(key, "%q is not a duration from 0s to %s", text, limits.TerraformLockTimeout)
	}
	return d, nil
}

// readRecipients takes native recipients only: plug-ins would run programs.
func readRecipients(key string, value any) ([]age.Recipient, error) {
	list, err := readList(key, value)
	if err != nil {
		return nil, err
	}
	out := make([]age.Recipient, 0, len(list))
	for i, text := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if strings.ContainsAny(text, "\r\n#") {
			return nil, badConfig(at, "it is not one age recipient")
		}
		parsed, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(parsed) != 1 {
			return nil, badConfig(at, "it is not an age recipient (age1…, as \"age-keygen -y\" prints it)")
		}
		out = append(out, parsed[0])
	}
	return out, nil
}

func each(key string, list []string, check func(key, text string) error) error {
	for i, text := range list {
		if err := check(fmt.Sprintf("%s[%d]", key, i), text); err != nil {
			return err
		}
	}
	return nil
}

func checkPath(key, text string) error {
	if !fs.ValidPath(text) || strings.Contains(text, `\`) {
		return badConfig(key, "%q is not a clean path inside the workspace", text)
	}
	return nil
}

func checkSecret(key, text string) error {
	if !secretName.MatchString(text) || reserved(text) {
		return badConfig(key, "%q is not an environment variable that may be set here", text)
	}
	return nil
}

// reading reads values.
var reading = kit.Settings(badConfig)

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "terraform_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: terraform, with: {dir: infra, encrypt_to: [age1…]}}")
}
