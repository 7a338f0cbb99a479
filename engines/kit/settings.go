package kit

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cabincrew/action/protocol"
)

// Settings reads the values of an engine's configuration, which come from YAML or
// JSON. It is the function by which the engine says what is wrong with the setting
// at a key, so that each engine has its own error code and example.
type Settings func(key, format string, args ...any) *protocol.Error

// Text reads a text that is not empty, of at most that many bytes.
func (refuse Settings) Text(key string, value any, most int) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok || s == "":
		return "", refuse(key, "it must be text that is not empty (put quotes around a number)")
	case len(s) > most:
		return "", refuse(key, "it is longer than %d bytes", most)
	}
	return s, nil
}

// Word reads a text as Text does, for what becomes an argument, a variable or a
// path: it has no NUL byte.
func (refuse Settings) Word(key string, value any, most int) (string, error) {
	s, err := refuse.Text(key, value, most)
	if err == nil && strings.ContainsRune(s, 0) {
		err = refuse(key, "it has a NUL byte")
	}
	return s, err
}

// Title reads a text as Text does, of one line that is shown as it is.
func (refuse Settings) Title(key string, value any, most int) (string, error) {
	s, err := refuse.Text(key, value, most)
	if err == nil && strings.ContainsFunc(s, unicode.IsControl) {
		err = refuse(key, "it has a line break or another control character")
	}
	return s, err
}

// Template reads a template as Text does. fault makes the error of one that is refused.
func (refuse Settings) Template(key string, value any, most int, fault func(*TemplateError) *protocol.Error) (string, error) {
	s, err := refuse.Text(key, value, most)
	if err != nil {
		return "", err
	}
	if f := CheckTemplate(s); f != nil {
		return "", fault(f)
	}
	return s, nil
}

// Bool reads true or false.
func (refuse Settings) Bool(key string, value any) (bool, error) {
	b, ok := value.(bool)
	if !ok {
		return false, refuse(key, "it must be true or false")
	}
	return b, nil
}

// Map reads a map; has says what stands in it, or is empty.
func (refuse Settings) Map(key string, value any, has string) (map[string]any, error) {
	m, ok := value.(map[string]any)
	switch {
	case !ok && has == "":
		return nil, refuse(key, "it must be a map")
	case !ok:
		return nil, refuse(key, "it must be a map with %s", has)
	}
	return m, nil
}

// List reads a list of least to most entries; of says what they are. read reads one.
func (refuse Settings) List(key string, value any, least, most int, of string, read func(key string, value any) error) error {
	list, ok := value.([]any)
	switch {
	case ok && least <= len(list) && len(list) <= most:
	case least > 0:
		return refuse(key, "it must be a list of %d to %d %s", least, most, of)
	default:
		return refuse(key, "it must be a list of at most %d %s", most, of)
	}
	for i, v := range list {
		if err := read(fmt.Sprintf("%s[%d]", key, i), v); err != nil {
			return err
		}
	}
	return nil
}

// Values reads the values of templates.
func (refuse Settings) Values(key string, value any) (map[string]any, error) {
	m, err := refuse.Map(key, value, "")
	if err != nil {
		return nil, err
	}
	plain, err := PlainValues(m, key)
	if err != nil {
		return nil, refuse(key, "%w", err)
	}
	out, _ := plain.(map[string]any)
	return out, nil
}

// Unknown says that there is no such setting beside those that there are.
func (refuse Settings) Unknown(key, have string) *protocol.Error {
	return refuse(key, "there is no such setting; %s", have)
}
