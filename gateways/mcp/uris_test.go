package mcp_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/paths"
)

// Files are named by resources, prompts and completions too.
func TestT30FilesBesideTools(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	checker, err := paths.New(paths.Options{Base: dir, Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *mcp.GuardOptions) { o.Paths = checker })
	uri := func(s string) string { return fmt.Sprintf(`{"uri":%q}`, s) }
	ref := func(s string) string {
		return fmt.Sprintf(`{"ref":{"type":"ref/resource","uri":%q},"argument":{"name":"x","value":""}}`, s)
	}
	for i, c := range []struct {
		method, params string
		want           int
	}{
		{"resources/read", uri("file://" + dir + "/a"), 0},
		{"resources/read", uri("note://a"), 0},
		{"resources/read", uri("https://example.com/a/../b"), 0},
		{"resources/read", uri("file:///etc/passwd"), -32050},
		{"resources/read", uri("fi\tle:///etc/passwd"), -32050},
		{"resources/read", `{"uri":"\u0001file:///etc/passwd"}`, -32050},
		{"resources/read", uri("git+file:///etc/passwd"), -32050},
		{"resources/read", uri("x:/../../etc/passwd"), -32050},
		{"resources/subscribe", uri("FILE:///etc/passwd"), -32050},
		{"resources/unsubscribe", uri("/etc/passwd"), -32050},
		{"completion/complete", ref("file:///etc/passwd"), -32050},
		{"completion/complete", ref("note://{a}"), 0},
		{"completion/complete", `{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"path","value":"/etc/pass"}}`, -32050},
		{"prompts/get", `{"name":"x","arguments":{"path":"/etc/passwd"}}`, -32050},
	} {
		text, code := r.one(`{"jsonrpc":"2.0","id":` + strconv.Itoa(i+10) + `,"method":"` + c.method + `","params":` + c.params + `}`)
		if code != c.want {
			t.Errorf("%s %s: %s", c.method, c.params, text)
		}
	}
}
