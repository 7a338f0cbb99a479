package files

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// settings is the configuration after it was checked.
type settings struct {
	entries []entry
	values  map[string]any
	message string
}

// action is what happens to a file.
type action string

const (
	write  action = "write"
	remove action = "delete"
	chmod  action = "chmod"
)

// The keys that say where a file's content comes from.
const (
	keyContent  = "content"
	keyTemplate = "template"
	keyFrom     = "from"
)

// entry is one declared file.
type entry struct {
	key       string // its place in the configuration
	path      string
	action    action
	source    string // of what is written: content, template or from
	text      string // the value of that key
	mode      string // a mode as patches write it, or empty
	missingOK bool
}

// at gives the place of one of the entry's keys for messages.
func (e *entry) at(key string) string { return "config." + e.key + "." + key }

// Check says what is wrong with the settings of a step, before it is run.
func Check(with map[string]any) error {
	_, err := readSettings(with)
	return err
}

func readSettings(config map[string]any) (*settings, error) {
	s := &settings{values: map[string]any{}}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		var err error
		switch value := config[key]; key {
		case "files":
			err = s.readFiles(value)
		case "values":
			s.values, err = reading.Values(key, value)
		case "message":
			s.message, err = reading.Title(key, value, limits.FilesMessageBytes)
		default:
			err = reading.Unknown(key, "the settings are files, values and message")
		}
		if err != nil {
			return nil, err
		}
	}
	if s.entries == nil {
		return nil, badConfig("files", "it is missing: the files to write, delete or chmod")
	}
	if err := s.checkTogether(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *settings) readFiles(value any) error {
	return reading.List("files", value, 1, limits.FilesEntries, "files", func(at string, v any) error {
		e := entry{key: at}
		m, err := reading.Map(at, v, "a path")
		if err == nil {
			err = e.read(m)
		}
		s.entries = append(s.entries, e)
		return err
	})
}

// read reads one file of the list.
func (e *entry) read(m map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var err error
		switch value := m[key]; key {
		case "path":
			e.path, err = e.readPath(key, value)
		case keyContent, keyTemplate, keyFrom:
			err = e.readSource(key, value)
		case "mode":
			e.mode, err = e.readMode(value)
		case "delete":
			if value != true {
				err = badConfig(e.key+".delete", "it can only be true")
			} else if e.action != "" {
				err = badConfig(e.key+".delete", "it cannot stand beside %q", e.source)
			}
			e.action = remove
		case "missing":
			if e.missingOK = value == "ok"; !e.missingOK {
				err = badConfig(e.key+".missing", "it can only be ok")
			}
		default:
			err = reading.Unknown(e.key+"."+key, "a file has path, content, template, from, mode, delete and missing")
		}
		if err != nil {
			return err
		}
	}
	return e.complete()
}

func (e *entry) complete() error {
	switch {
	case e.path == "":
		return badConfig(e.key+".path", "it is missing")
	case e.action == "" && e.mode == "":
		return badConfig(e.key, "it does not say what becomes of the file: content, template, from, delete or mode")
	case e.action == remove && e.mode != "":
		return badConfig(e.key+".mode", "a file that is deleted has no mode")
	case e.action != remove && e.missingOK:
		return badConfig(e.key+".missing", "it is for files that are deleted")
	case e.action == "":
		e.action = chmod
	}
	return nil
}

func (e *entry) readSource(key string, value any) (err error) {
	if e.action != "" {
		with := e.source
		if e.action == remove {
			with = "delete"
		}
		return badConfig(e.key+"."+key, "it cannot stand beside %q", with)
	}
	e.action, e.source = write, key
	switch key {
	case keyFrom:
		e.text, err = e.readPath(key, value)
		return err
	case keyTemplate:
		e.text, err = reading.Template(e.key+"."+key, value, limits.TemplateBytes, func(fault *kit.TemplateError) *protocol.Error {
			return badTemplate(e.at(key), fault)
		})
		return err
	}
	text, ok := value.(string)
	switch {
	case !ok:
		return badConfig(e.key+"."+key, "it must be text (put quotes around it)")
	case len(text) > limits.FilesFileBytes:
		return badConfig(e.key+"."+key, "it is longer than %d bytes", limits.FilesFileBytes)
	}
	e.text = text
	return nil
}

// readPath reads a path inside the workspace; what patches refuse is refused here
// too, before anything runs. SPEC: docs/protocol.md 4
func (e *entry) readPath(key string, value any) (string, error) {
	p, err := reading.Text(e.key+"."+key, value, limits.PathBytes)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' }) {
		return "", badConfig(e.key+"."+key, "%q has a backslash or a character that cannot be seen", p)
	}
	if err := patch.CheckPath(p, nil); err != nil {
		return "", badConfig(e.key+"."+key, "%w", err)
	}
	return p, nil
}

func (e *entry) readMode(value any) (string, error) {
	switch value {
	case "0644":
		return patch.ModeFile, nil
	case "0755":
		return patch.ModeExecutable, nil
	}
	return "", badConfig(e.key+".mode", "it must be \"0644\" or \"0755\", with quotes: no other mode outlives a commit")
}

// checkTogether refuses entries that stand in each other's way on some file system.
func (s *settings) checkTogether() error {
	first := map[string]*entry{}
	for i := range s.entries {
		e := &s.entries[i]
		if other := first[folded(e.path)]; other != nil {
			return badConfig(e.key+".path", "%q is the path of %s already", e.path, other.key)
		}
		first[folded(e.path)] = e
	}
	for i := range s.entries {
		e := &s.entries[i]
		for at, c := range e.path {
			if c != '/' {
				continue
			}
			if other := first[folded(e.path[:at])]; other != nil {
				return badConfig(e.key+".path", "%q lies below %q, which is the path of %s", e.path, other.path, other.key)
			}
		}
	}
	return nil
}

// folded gives a path as a file system has it that does not tell case.
func folded(p string) string { return strings.ToLower(strings.ToUpper(p)) }

// reading reads values.
var reading = kit.Settings(badConfig)

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "files_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: files, with: {files: [{path: VERSION, content: \"1.2\"}]}}")
}

// badTemplate says what is wrong with the template at a place.
func badTemplate(place string, fault *kit.TemplateError) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "files_template", "the template is refused: %w", fault).At(fault.Place(place)).
		WithHint("see docs/engines.md, the engine files, for what a template may hold")
}
