package files

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func settingsOf(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := protocol.Decode([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // text always marshals
	return string(b)
}

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	path := func(p string) string { return one(`{"path":` + quoted(p) + `,"content":""}`) }
	tests := map[string]struct{ config, where, want string }{
		"no files":                {`{}`, "files", "missing"},
		"empty list":              {`{"files":[]}`, "files", "list of 1"},
		"a map":                   {`{"files":{}}`, "files", "list of 1"},
		"too many":                {`{"files":[` + strings.Repeat(`{},`, limits.FilesEntries) + `{}]}`, "files", "list of 1"},
		"no map":                  {one(`"a"`), "files[0]", "map"},
		"unknown":                 {`{"files":[{"path":"a","content":""}],"file":1}`, "file", "no such setting"},
		"unknown in a file":       {one(`{"path":"a","contents":""}`), "files[0].contents", "no such setting"},
		"no path":                 {one(`{"content":""}`), "files[0].path", "missing"},
		"path of a number":        {one(`{"path":1,"content":""}`), "files[0].path", "text"},
		"nothing said":            {one(`{"path":"a"}`), "files[0]", "does not say"},
		"two sources":             {one(`{"path":"a","content":"","template":"x"}`), "files[0].template", `beside "content"`},
		"three":                   {one(`{"path":"a","from":"b","template":"x"}`), "files[0].template", `beside "from"`},
		"content and delete":      {one(`{"path":"a","content":"","delete":true}`), "files[0].delete", `beside "content"`},
		"delete and from":         {one(`{"path":"a","delete":true,"from":"x"}`), "files[0].from", `beside "delete"`},
		"delete false":            {one(`{"path":"a","delete":false}`), "files[0].delete", "only be true"},
		"delete with mode":        {one(`{"path":"a","delete":true,"mode":"0644"}`), "files[0].mode", "no mode"},
		"missing of a write":      {one(`{"path":"a","content":"","missing":"ok"}`), "files[0].missing", "deleted"},
		"missing of a chmod":      {one(`{"path":"a","mode":"0755","missing":"ok"}`), "files[0].missing", "deleted"},
		"missing otherwise":       {one(`{"path":"a","delete":true,"missing":true}`), "files[0].missing", "only be ok"},
		"mode":                    {one(`{"path":"a","content":"","mode":"0600"}`), "files[0].mode", `"0644" or "0755"`},
		"setuid":                  {one(`{"path":"a","content":"","mode":"4755"}`), "files[0].mode", `"0644" or "0755"`},
		"mode as a number":        {one(`{"path":"a","content":"","mode":644}`), "files[0].mode", "quotes"},
		"content of a number":     {one(`{"path":"a","content":1}`), "files[0].content", "quotes"},
		"twice":                   {one(`{"path":"a","content":""},{"path":"a","delete":true}`), "files[1].path", "files[0]"},
		"twice but for case":      {one(`{"path":"A/b","content":""},{"path":"a/B","content":""}`), "files[1].path", "files[0]"},
		"below another":           {one(`{"path":"a","delete":true},{"path":"a/b","content":""}`), "files[1].path", "files[0]"},
		"above another":           {one(`{"path":"A/b/c","content":""},{"path":"a","content":""}`), "files[0].path", "files[1]"},
		"absolute":                {path("/etc/passwd"), "files[0].path", "clean"},
		"parent":                  {path("a/../../b"), "files[0].path", "clean"},
		"not clean":               {path("a//b"), "files[0].path", "clean"},
		"top":                     {path("."), "files[0].path", "clean"},
		"git":                     {path(".git/hooks/x"), "files[0].path", "git's own"},
		"git by case":             {path("a/.GiT/x"), "files[0].path", "git's own"},
		"git by 8.3":              {path("GIT~1/x"), "files[0].path", "git's own"},
		"git by stream":           {path(".git::$INDEX_ALLOCATION/x"), "files[0].path", "git's own"},
		"git by trailing dot":     {path(".git./x"), "files[0].path", "git's own"},
		"state directory":         {path(".cabincrew/x"), "files[0].path", "CabinCrew"},
		"line break":              {path("a\nb"), "files[0].path", "cannot be seen"},
		"direction of text":       {path("a\u202egnp.exe"), "files[0].path", "cannot be seen"},
		"backslash":               {path(`a\b`), "files[0].path", "backslash"},
		"long":                    {path(strings.Repeat("a", 300)), "files[0].path", "longer than 255"},
		"from outside":            {one(`{"path":"a","from":"../b"}`), "files[0].from", "clean"},
		"values":                  {`{"files":[{"path":"a","content":""}],"values":[1]}`, "values", "map"},
		"value nothing":           {`{"files":[{"path":"a","content":""}],"values":{"x":{"y":null}}}`, "values", "values.x.y has no value"},
		"value of a fraction":     {`{"files":[{"path":"a","content":""}],"values":{"x":[0.5]}}`, "values", "values.x[0]: 0.5 is not a whole number"},
		"message":                 {`{"files":[{"path":"a","content":""}],"message":"a\nb"}`, "message", "line break"},
		"message empty":           {`{"files":[{"path":"a","content":""}],"message":""}`, "message", "not empty"},
		"message long":            {`{"files":[{"path":"a","content":""}],"message":"` + strings.Repeat("x", 201) + `"}`, "message", "longer"},
		"template":                {one(`{"path":"a","template":"x\n{{if}}"}`), "files[0].template:2", "missing value"},
		"template empty":          {one(`{"path":"a","template":""}`), "files[0].template", "not empty"},
		"function of the package": {one(`{"path":"a","template":"{{printf \"%1000000d\" 1}}"}`), "files[0].template:1", `function "printf" not defined`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Check(settingsOf(t, tc.config))
			var e *protocol.Error
			if !errors.As(err, &e) || e.Where != "config."+tc.where || !strings.Contains(e.Message, tc.want) || e.Exit != protocol.ExitUsage || e.Hint == "" ||
				e.Code != "files_config" && e.Code != "files_template" {
				t.Errorf("%+v, want config.%s and %q", err, tc.where, tc.want)
			}
		})
	}
}

func TestConfigTakesWhatYAMLGives(t *testing.T) {
	t.Parallel()
	err := Check(map[string]any{
		"values": map[string]any{"n": int64(3), "t": "0.50", "l": []any{true, "x"}},
		"files":  []any{map[string]any{"path": "a b/ü", "template": "{{.n}}", "mode": "0755"}, map[string]any{"path": "b", "delete": true, "missing": "ok"}},
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(all))
	f.Add([]byte(one(`{"path":"a","template":"{{range .a}}{{.}}{{end}}"}`)))
	f.Add([]byte(one(`{"path":"a/../b","delete":true,"missing":"ok"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m map[string]any
		if protocol.Decode(data, &m) != nil {
			return
		}
		s, err := readSettings(m)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitUsage {
				t.Errorf("%v has exit %d", err, protocol.ExitCode(err))
			}
			return
		}
		for _, e := range s.entries {
			if strings.Contains("/"+strings.ToLower(e.path)+"/", "/.git/") || strings.HasPrefix(e.path, "/") || strings.Contains("/"+e.path+"/", "/../") {
				t.Errorf("the path %q was taken", e.path)
			}
		}
	})
}
