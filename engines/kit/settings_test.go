package kit

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	s := Settings(func(key, format string, args ...any) *protocol.Error {
		return protocol.Errorf(protocol.ExitUsage, "probe_config", format, args...).At(key)
	})
	text := func(read func(string, any, int) (string, error)) func(any) error {
		return func(v any) error {
			got, err := read("k", v, 5)
			if err == nil && got != v {
				t.Errorf("%q is read as %q", v, got)
			}
			return err
		}
	}
	word := func(key string, v any) error { _, err := s.Word(key, v, 5); return err }
	read := map[string]func(v any) error{
		"text": text(s.Text), "word": text(s.Word), "title": text(s.Title),
		"template": text(func(key string, v any, most int) (string, error) {
			return s.Template(key, v, most, func(f *TemplateError) *protocol.Error {
				return protocol.Errorf(protocol.ExitUsage, "probe_template", "bad: %w", f).At(f.Place(key))
			})
		}),
		"bool":   func(v any) error { _, err := s.Bool("k", v); return err },
		"map":    func(v any) error { _, err := s.Map("k", v, ""); return err },
		"fields": func(v any) error { _, err := s.Map("k", v, "a path"); return err },
		"values": func(v any) error { _, err := s.Values("k", v); return err },
		"list":   func(v any) error { return s.List("k", v, 1, 2, "words", word) },
		"any":    func(v any) error { return s.List("k", v, 0, 2, "words", word) },
	}
	for name, tc := range map[string]struct {
		how   string
		value any
		want  string // place and message, empty if it is taken
	}{
		"text":            {"text", "a\x00b\n", ""},
		"number":          {"text", int64(1), "k: it must be text that is not empty"},
		"empty":           {"text", "", "k: it must be text that is not empty"},
		"nothing":         {"text", nil, "k: it must be text that is not empty"},
		"long":            {"text", "123456", "k: it is longer than 5 bytes"},
		"word":            {"word", "a b", ""},
		"NUL":             {"word", "a\x00", "k: it has a NUL byte"},
		"long word":       {"word", "12345\x00", "k: it is longer than 5 bytes"},
		"title":           {"title", "a b", ""},
		"lines":           {"title", "a\nb", "k: it has a line break"},
		"empty title":     {"title", "", "k: it must be text"},
		"template":        {"template", "{{1}}", ""},
		"broken":          {"template", "{{", "k:1"},
		"no template":     {"template", true, "k: it must be text"},
		"true":            {"bool", true, ""},
		"yes":             {"bool", "yes", "k: it must be true or false"},
		"map":             {"map", map[string]any{}, ""},
		"list for map":    {"map", []any{}, "k: it must be a map"},
		"no fields":       {"fields", "a", "k: it must be a map with a path"},
		"values":          {"values", map[string]any{"a": []any{int64(1)}}, ""},
		"fraction":        {"values", map[string]any{"a": protocol.Number("1.5")}, "k: k.a: 1.5 is not a whole number"},
		"no values":       {"values", "a", "k: it must be a map"},
		"list":            {"list", []any{"a", "b"}, ""},
		"too many":        {"list", []any{"a", "b", "c"}, "k: it must be a list of 1 to 2 words"},
		"empty list":      {"list", []any{}, "k: it must be a list of 1 to 2 words"},
		"may be empty":    {"any", []any{}, ""},
		"too many of any": {"any", []any{"a", "b", "c"}, "k: it must be a list of at most 2 words"},
		"entry":           {"any", []any{"a", false}, "k[1]: it must be text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := read[tc.how](tc.value)
			if err == nil && tc.want == "" {
				return
			}
			if err == nil || tc.want == "" || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if err := s.Unknown("x", "the settings are a and b"); err.Error() != "x: there is no such setting; the settings are a and b" {
		t.Error(err)
	}
}
